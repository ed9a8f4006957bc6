// The viewer of generated pictures in a page: those that are there, the one that is looked into, and one on its way.
// CrossvizViewer.mountGenerations(element, generations, options)
//   -> {drawn, clear(), add(generation), pick(id), progress(message), stopped(text), rest(), generations()}
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  /**
   * @param {HTMLElement} element gets the viewer
   * @param {Generation[]} generations pictures of one caption (crossviz/render/generation_payload.py)
   * @param {GenerationOptions} [options] what the page behind it can do; nothing in a page that stands alone
   */
  function mountGenerations(element, generations, options = {}) {
    const said = el("div", { class: "cv-live", role: "status", "aria-live": "polite" });
    const body = el("div", { class: "cv-body", hidden: true });
    const growing = CV.growing();
    let chosen = false; // the reader looks into one while others are on their way
    let number = 0; // of the picture on its way
    const row = CV.seeds((id) => {
      chosen = true;
      void pick(id);
    });
    const root = el("div", { class: "cv-viewer cv-generations" }, said, row.node, growing.node, body);
    element.replaceChildren(root);
    /** @type {Live} */
    const live = (text) => void (said.textContent = text);
    // What the reader chose to see stays chosen when the next picture comes.
    /** @type {GenerationPrefs} */
    const prefs = { smooth: true, side: 0, tokens: false };
    /** @type {Generation[]} */
    let all = [];
    /** @type {BuiltGeneration | null} */
    let current = null;
    /** @type {string | null} */
    let shown = null;
    let turn = 0;

    /**
     * Looks into a picture.
     * @type {(id: string) => Promise<void>}
     */
    async function pick(id) {
      const generation = all.find((one) => one.id === id);
      if (!generation) return;
      const own = ++turn;
      root.removeAttribute("data-ready");
      try {
        await CV.unpackGeneration(generation);
      } catch (error) {
        if (own === turn) fail(/** @type {Error} */ (error));
        return;
      }
      if (own !== turn) return;
      current?.stop();
      growing.paint(null);
      body.hidden = false;
      shown = id;
      row.paint(all, shown);
      current = CV.buildGeneration(body, generation, options, prefs, live);
      await current.ready;
      if (own === turn) root.dataset.ready = id;
    }
    /** @type {(error: Error) => void} */
    function fail({ message }) {
      current?.stop();
      current = null;
      body.hidden = false;
      body.replaceChildren(el("p", { class: "cv-unable", role: "alert", text: message }));
    }
    /** Another question begins. */
    function clear() {
      turn++;
      [chosen, number] = [false, 0];
      current?.stop();
      [all, current, shown] = [[], null, null];
      body.hidden = true;
      body.replaceChildren();
      root.removeAttribute("data-ready");
      growing.begin();
      growing.paint(null);
      row.paint(all, null);
    }
    /**
     * A picture is finished.
     * @type {(generation: Generation) => void}
     */
    function add(generation) {
      all = [...all.filter(({ id }) => id !== generation.id), generation];
      row.paint(all, shown);
    }
    /** @type {(progress: DrawingProgress) => void} */
    function progress(message) {
      if (!message.steps) growing.begin();
      else if (message.number !== number) {
        number = message.number;
        growing.begin();
        live(message.count > 1 ? `Drawing picture ${message.number} of ${message.count}.` : "Drawing.");
      }
      if (chosen && message.steps) return;
      body.hidden = true;
      growing.paint(message);
    }
    /** Nothing is on its way any more: what is there is shown. */
    async function rest() {
      [chosen, number] = [false, 0];
      growing.paint(null);
      body.hidden = !current;
      if (!current && all.length) await pick(all[0].id);
    }
    /** @type {(text: string) => void} */
    function stopped(text) {
      growing.stopped(text);
      live(text);
    }
    async function begin() {
      generations.forEach(add);
      if (all.length) await pick(all[0].id);
    }
    return {
      drawn: begin(),
      clear,
      add,
      pick,
      progress,
      stopped,
      rest,
      generations: () => all,
    };
  }

  Object.assign(CV, { mountGenerations });
})();
