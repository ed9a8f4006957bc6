// "Can I trust this map?": one sentence, the checks in a list, and the figures of the one that is chosen.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, uid, hint } = CV;

  const TITLE = "Can I trust this map?";
  const DRAW = "Draw a box around the thing that the word names, and see how much of the map lies in it.";
  const ABOUT =
    "Six checks of the map that is shown, over all layers and heads. Each compares it with what would come out if the map meant nothing. They say whether the map is true to the model, not whether the model is right.";

  /**
   * What stands where a check has no figures.
   * @type {(check: AnyCheck, marking: Node | null, state: Pick<Known, "report" | "boxError">) => string}
   */
  function withoutPart({ key, about }, marking, { report, boxError }) {
    if (key !== "localisation") return report ? "This check can't be made for this map." : about;
    return boxError || (marking ? DRAW : report ? "No box was drawn for this word." : about);
  }

  /**
   * @param {Pick<Prefs, "check" | "dim">} prefs key of the open check; what is chosen stays chosen in the next
   *   explanation
   * @param {{check: () => void, stop: () => void, dim: (on: boolean) => void}} act
   * @param {HTMLElement | null} marking the controls of the drawn box, or null where nothing can be drawn
   * @returns {{node: HTMLElement, paint: (state: Told) => void}}
   */
  function trustPanel(prefs, act, marking) {
    const id = uid("trust");
    const sentence = el("span");
    const said = el("p", { class: "cv-trust-said" }, sentence);
    const level = el("span");
    const bar = el("div", { class: "cv-progress", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-labelledby": `${id}-doing` }, level);
    const doing = el("span", { id: `${id}-doing`, class: "cv-doing" });
    const button = el("button", { type: "button", class: "cv-link", on: { click: () => (button.dataset.does === "stop" ? act.stop() : act.check()) } });
    const busy = el("div", { class: "cv-trust-busy" }, bar, el("p", {}, doing, button));

    const tabs = CV.CHECKS.map(({ key, name }) =>
      el(
        "button",
        { type: "button", role: "tab", id: `${id}-${key}`, class: "cv-tab", "aria-controls": `${id}-panel`, on: { click: () => choose(key) } },
        el("span", { class: "cv-tab-name", text: name }),
        el("span", { class: "cv-tab-brief" }),
      ),
    );
    const list = el("div", { class: "cv-tabs", role: "tablist", "aria-orientation": "vertical", "aria-label": "Checks" }, ...tabs);
    list.addEventListener("keydown", (event) => {
      const here = tabs.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
      const to = { ArrowDown: here + 1, ArrowRight: here + 1, ArrowUp: here - 1, ArrowLeft: here - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (here < 0 || to === undefined) return;
      event.preventDefault();
      const next = (to + tabs.length) % tabs.length;
      choose(CV.CHECKS[next].key);
      tabs[next].focus({ focusVisible: true });
    });
    const panel = el("div", { class: "cv-check-panel", role: "tabpanel", id: `${id}-panel` });
    const node = el(
      "section",
      { class: "cv-trust", "aria-labelledby": `${id}-title` },
      el("div", { class: "cv-trust-head" }, el("h2", { id: `${id}-title`, class: "cv-title", text: TITLE }), hint(TITLE, ABOUT)),
      said,
      busy,
      el("div", { class: "cv-checks" }, list, panel),
    );
    /** @type {Told | null} */
    let now = null;
    /** @type {{key: CheckKey, part: object | null, without: string} | null} */
    let drawn = null; // what the open check shows: drawn again only when it changes, so that focus stays

    /** @type {(key: CheckKey) => void} */
    function choose(key) {
      prefs.check = key;
      drawn = null;
      if (now) paint(now);
    }

    /** @param {Told} state */
    function paint(state) {
      now = state;
      const { report, running } = state;
      sentence.textContent = state.sentence;
      said.classList.toggle("cv-trust-empty", !report || Boolean(state.failed));
      said.classList.toggle("cv-trust-failed", Boolean(state.failed));
      bar.hidden = !running;
      level.style.inlineSize = running ? `${100 * running.done}%` : "0";
      bar.setAttribute("aria-valuenow", running ? String(Math.round(100 * running.done)) : "0");
      doing.textContent = running ? running.label : state.beside;
      button.hidden = !running && (!state.can || Boolean(report));
      button.dataset.does = running ? "stop" : "check";
      button.textContent = running ? "Stop" : state.failed ? "Try again" : "Check now";

      /** @type {(key: CheckKey) => any} */
      const partOf = (key) => (key === "localisation" ? state.localisation : key === "done" ? report : report && report[key]) || null;
      CV.CHECKS.forEach(({ key, brief }, i) => {
        const part = partOf(key);
        const open = key === prefs.check;
        tabs[i].setAttribute("aria-selected", String(open));
        tabs[i].setAttribute("tabindex", open ? "0" : "-1");
        const none = key === "localisation" ? (marking ? "draw one" : "") : report ? "not made" : "";
        const text = part ? brief(part) : none;
        /** @type {Node} */ (tabs[i].lastChild).textContent = text;
        tabs[i].title = text; // a long one is cut off
      });
      const check = CV.CHECKS.find(({ key }) => key === prefs.check) ?? CV.CHECKS[0];
      const { key, name, about, show } = check;
      const part = partOf(key);
      const without = part ? "" : withoutPart(check, marking, state);
      if (!drawn || drawn.key !== key || drawn.part !== part || drawn.without !== without) {
        drawn = { key, part, without };
        panel.setAttribute("aria-labelledby", `${id}-${key}`);
        const content = part ? show(part, { dim: prefs.dim, setDim }) : [el("p", { class: "cv-note", text: without })];
        panel.replaceChildren(
          el("div", { class: "cv-trust-head" }, el("h3", { class: "cv-check-name", text: name }), hint(name, about)),
          ...content,
          ...(key === "localisation" && marking ? [marking] : []),
        );
      }
    }
    /** @type {(on: boolean) => void} */
    function setDim(on) {
      prefs.dim = on;
      act.dim(on);
    }
    return { node, paint };
  }

  Object.assign(CV, { trustPanel, TRUST: TITLE });
})();
