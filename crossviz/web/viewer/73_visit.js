// The answers of this visit: kept in this page and nowhere else, so that one can go back to them and compare them.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  const MOST = 12; // answers that are kept; the oldest leave first
  const LONGEST = 60; // characters of a caption in a label

  /**
   * "a black dog on the … · coca-mini · Cross-attention".
   * @type {(payload: Payload) => string}
   */
  function labelOf({ caption, model, method, hidden }) {
    const text = caption.text.replace(/\s+/g, " ").trim();
    const short = Array.from(text).length > LONGEST ? `${Array.from(text).slice(0, LONGEST).join("")}…` : text;
    return `${short} · ${model.title} · ${method.title}${hidden ? " · words hidden" : ""}`;
  }

  /**
   * @param {{show: (entry: Entry) => void, forgot: () => void}} act show: an earlier answer is wanted again; forgot:
   *   all but one are gone
   */
  function visit(act) {
    /** @type {Entry[]} */
    let entries = []; // newest first: {payload, how, label, asked}
    /** @type {string | null} */
    let current = null;
    /** @type {Fields | null} */
    let noted = null; // what was last asked, as the page's fields held it
    const list = el("ul", { class: "cv-visit-list" });
    const clear = el("button", { type: "button", class: "cv-link", text: "Forget the others", on: { click: forget } });
    const node = el(
      "details",
      { class: "cv-visit", hidden: true },
      el("summary", { text: "Answers of this visit" }),
      el("p", { class: "cv-note" }, "They are kept in this page only, and are gone when it is closed. ", clear),
      list,
    );

    /** @type {(payload: Payload) => boolean} */
    const fits = ({ caption, model, hidden }) => noted !== null && !hidden && noted.caption === caption.text && noted.model === model.name;
    /** @type {(payload: Payload, how: How) => void} */
    function add(payload, how) {
      current = payload.id;
      const known = entries.find((entry) => entry.payload.id === payload.id);
      const entry = known || { payload, how: { guesses: how.guesses }, label: labelOf(payload), asked: fits(payload) ? noted : null };
      entries = known ? entries : [entry, ...entries].slice(0, MOST);
      paint();
    }
    function forget() {
      entries = entries.filter((entry) => entry.payload.id === current);
      paint();
      act.forgot();
    }
    function paint() {
      node.hidden = entries.length < 2;
      list.replaceChildren(
        ...entries.map((entry) => {
          const here = entry.payload.id === current;
          return el(
            "li",
            {},
            el(
              "button",
              { type: "button", class: "cv-visit-one", "aria-current": here ? "true" : null, on: { click: () => here || act.show(entry) } },
              el("img", { src: entry.payload.photo.src, alt: "" }),
              el("bdi", { text: entry.label }),
            ),
          );
        }),
      );
    }
    /**
     * All but one, those seen last first.
     * @type {(id: string) => Entry[]}
     */
    const others = (id) => {
      const at = entries.findIndex((entry) => entry.payload.id === id);
      return [...entries.slice(at + 1), ...entries.slice(0, Math.max(0, at))];
    };
    /**
     * What the fields hold of what is asked; of the answer that is there already, if it is known only now.
     * @type {(asked: Fields) => void}
     */
    function note(asked) {
      noted = asked;
      const shown = entries.find((entry) => entry.payload.id === current);
      if (shown && !shown.asked && fits(shown.payload)) shown.asked = asked;
    }
    return { node, add, others, note };
  }

  Object.assign(CV, { visit });
})();
