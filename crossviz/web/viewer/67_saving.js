// What is taken away from a view: files, the picture and a link on the clipboard.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, uid } = CV;

  const COPIED = "The link is copied. It holds the caption and the view, and no photo.";
  const COPIED_EXAMPLE = "The link is copied. It holds the caption, the view and the example's name.";
  const BY_HAND = "This browser lets no page copy here: copy the link yourself.";

  /**
   * @param {Options} options of the page, or nothing where it stands alone
   * @param {Payload} payload
   * @param {() => View} view what is drawn
   * @param {() => Settings} settings
   * @param {() => CellQuestion | null} cell what was asked for the cell that is open inside
   * @param {Live} live
   */
  function saving(options, payload, view, settings, cell, live) {
    const note = el("p", { class: "cv-note cv-taken", hidden: true });
    const id = uid("link");
    const address = el("input", { id, class: "cv-select", type: "text", readonly: true });
    const byHand = el("div", { class: "cv-field cv-by-hand", hidden: true }, el("label", { for: id, class: "cv-label", text: "Link" }), address);
    /** @type {(text: string) => void} */
    const tell = (text) => {
      note.textContent = text;
      note.hidden = false;
      live(text);
    };
    /** @type {(text: string, click: () => void) => HTMLElement} */
    const button = (text, click) => el("button", { type: "button", class: "cv-button", text, on: { click } });

    const download = () => CV.download(view());
    let parts = [button("Save as PNG", download)];
    if (options.onSave) {
      const format = CV.select("Save", [["view", "this view, PNG"], ...(options.formats ?? [])], "view", () => undefined, "cv-save");
      const save = () => (format.control.value === "view" ? download() : options.onSave?.(format.control.value, payload.id, settings(), cell()));
      parts = [format.node, button("Save", save)];
    }
    parts.push(button("Copy picture", async () => tell(await CV.copyPicture(view()))));
    if (options.link) parts.push(button("Copy link", copyLink));

    async function copyLink() {
      const link = options.link?.(payload, settings());
      if (!link) return;
      const copied = await CV.copyText(link.address);
      byHand.hidden = copied;
      if (copied) return tell(link.example ? COPIED_EXAMPLE : COPIED);
      tell(BY_HAND);
      address.value = link.address;
      address.focus();
      address.select();
    }
    return [el("div", { class: "cv-saving" }, ...parts), el("div", { class: "cv-taken-row" }, note, byHand)];
  }

  Object.assign(CV, { saving });
})();
