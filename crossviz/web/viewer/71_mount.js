// The viewer in a page: one explanation after another, what is being done meanwhile, and what outlives them.
// CrossvizViewer.mount(element, payload, options)
//   -> {drawn, update(payload, how), busy(text), stale(text), trust(message), inside(message), asked(fields), view(),
//       payload(), settings(), destroy()}; `drawn` and what `update` returns are promises
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  /**
   * @param {HTMLElement} element gets the viewer
   * @param {Payload | null} payload an explanation (crossviz/render/payload.py), or nothing yet
   * @param {Options} [options] what the page behind it can do; nothing in a page that stands alone
   */
  function mount(element, payload, options = {}) {
    const said = el("div", { class: "cv-live", role: "status", "aria-live": "polite" });
    const busyText = el("span", { class: "cv-busy-text" });
    const cancel = el("button", { type: "button", class: "cv-link", text: "Cancel", on: { click: () => options.onCancel?.() } });
    const busyLine = el("p", { class: "cv-pill", hidden: true, role: "status" }, busyText, options.onCancel ? cancel : null);
    const staleNote = el("p", { class: "cv-pill cv-stale", role: "status", hidden: true });
    // Over the picture's lower edge: nothing moves when they come and go.
    const overlay = el("div", { class: "cv-over" }, el("i", { class: "cv-thin" }), busyLine, staleNote);
    const body = el("div", { class: "cv-body" });
    const visit = CV.visit({ show: again, forgot });
    const root = el("div", { class: "cv-viewer" }, said, body, visit.node, overlay);
    element.replaceChildren(root);
    /** @type {Built | null} */
    let current = null;
    // What the reader chose to see stays chosen when the next explanation comes.
    /** @type {Prefs} */
    const prefs = { smooth: true, own: false, opacity: 0.85, cmap: null, check: "calibration", dim: false, box: null, steps: false, inside: Boolean(options.cells), compare: Boolean(options.earlier?.length), cell: null, again: null, contour: 0.5, saw: false, sort: "layer", ask: null };
    /** @type {Live} */
    const live = (text) => void (said.textContent = text);

    /** @type {Payload | null} */
    let newest = null; // the payload that is drawn, or is about to be
    let turn = 0;

    /**
     * Draws an explanation, or nothing. Its maps are unpacked first, and what was drawn before stays until then; of two
     * that come together only the second is drawn.
     * @param {Payload | null} next
     * @param {How} [how]
     * @returns {Promise<void>} until it is drawn, or overtaken
     */
    async function update(next, how = {}) {
      const own = ++turn;
      newest = next;
      root.removeAttribute("data-ready");
      busy(null);
      stale(null);
      try {
        await Promise.all([next, ...(options.earlier || [])].map((one) => one && CV.unpack(one)));
      } catch (error) {
        if (own === turn) fail(/** @type {Error} */ (error));
        return;
      }
      if (own === turn) draw(next, how);
    }
    /** @type {(next: Payload | null, how: How) => void} */
    function draw(next, how) {
      const told = { ...how, settings: { ...through(next), ...how.settings } };
      if (current) current.stop();
      body.hidden = !next;
      const hiding = Boolean(document.activeElement?.closest(".cv-hiding"));
      if (next) visit.add(next, how);
      current = next ? CV.build(body, next, options, prefs, live, told, visit) : null;
      if (hiding) /** @type {HTMLElement | null} */ (root.querySelector(".cv-hiding .cv-button"))?.focus();
      (current ? current.view().stage.node : root).append(overlay);
      if (root.hasAttribute("data-busy")) current?.trust.pause();
      const id = next ? next.id : "empty";
      const drawn = current;
      Promise.resolve(current && current.ready).then(() => drawn === current && newest === next && (root.dataset.ready = id));
    }
    /** @type {(error: Error) => void} */
    function fail({ message }) {
      if (current) current.stop();
      current = null;
      body.hidden = false;
      body.replaceChildren(el("p", { class: "cv-unable", role: "alert", text: message }));
      root.append(overlay);
    }
    /**
     * The layer and heads that were chosen: they stay where model and method do.
     * @type {(next: Payload | null) => Partial<Pick<Settings, "layer" | "head">>}
     */
    function through(next) {
      const before = current?.view().payload;
      if (!current || !before || !next || before.model.name !== next.model.name || before.method.name !== next.method.name) return {};
      const { layer, head } = current.settings();
      return { layer, head };
    }
    /** @type {(text: string | null) => void} */
    function busy(text) {
      busyLine.hidden = !text;
      busyText.textContent = text || "";
      if (text) stale(null);
      if (text && current) current.trust.pause(); // what is asked now goes first
      root.toggleAttribute("data-busy", Boolean(text));
    }
    /** @type {(text: string | null) => void} */
    function stale(text) {
      staleNote.hidden = !text;
      staleNote.textContent = text || "";
      root.toggleAttribute("data-stale", Boolean(text));
    }
    /**
     * An earlier answer, as it was; the page behind it hears of it.
     * @type {(entry: Entry) => void}
     */
    function again(entry) {
      update(entry.payload, entry.how);
      live(`Shown again: ${entry.label}`);
      if (entry.asked) options.onAgain?.(entry.asked);
    }
    function forgot() {
      if (current) current.forgot();
      live("The other answers of this visit are forgotten.");
    }
    for (const earlier of options.earlier || []) visit.add(earlier, {});
    const drawn = update(payload, options.opening);
    return {
      drawn,
      update,
      busy,
      stale,
      /** @type {(message: TrustMessage) => void} */
      trust: (message) => current?.trust.receive(message),
      /** @type {(message: InsideMessage) => void} */
      inside: (message) => current?.inside.receive(message),
      asked: visit.note,
      view: () => (current ? current.view() : null),
      payload: () => newest,
      settings: () => (current ? current.settings() : null),
      destroy() {
        turn++;
        if (current) current.stop();
        element.replaceChildren();
      },
    };
  }

  Object.assign(CV, { mount });
})();
