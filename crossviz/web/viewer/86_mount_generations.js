// The viewer of generated pictures in a page: those that are there, the one that is looked into, and one on its way.
// CrossvizViewer.mountGenerations(element, generations, options)
//   -> {drawn, clear(), add(generation), pick(id), progress(message), stopped(text), rest(), shown(), destroy()}
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
    const row = CV.seeds((id) => void pick(id));
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
     * A picture is finished: the first one is looked into at once, unless another is on its way.
     * @type {(generation: Generation, look?: boolean) => Promise<void>}
     */
    async function add(generation, look = true) {
      all = [...all.filter(({ id }) => id !== generation.id), generation];
      row.paint(all, shown);
      if (look) await pick(all[0].id);
    }
    /** @type {(progress: DrawingProgress) => void} */
    function progress(message) {
      if (!message.step) {
        growing.begin();
        live(message.count > 1 ? `Drawing picture ${message.number} of ${message.count}.` : "Drawing.");
      }
      body.hidden = true;
      growing.paint(message);
    }
    /** Nothing is on its way any more: what is there is shown. */
    async function rest() {
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
      for (const generation of generations) await add(generation, false);
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
      shown: () => shown,
      view: () => current?.view() ?? null,
      destroy() {
        turn++;
        current?.stop();
        element.replaceChildren();
      },
    };
  }

  Object.assign(CV, { mountGenerations });
})();
