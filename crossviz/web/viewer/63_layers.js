// The layers one after another, at a calm pace: from the first (or the one after what is shown) to the last.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const PACE = 900; // ms that a layer is shown

  /**
   * A button that plays the layers; where reduced motion is asked for, it goes one layer further and nothing plays.
   * @param {Field} field
   * @param {{at: () => number|null, go: (layer: number) => void, say: (text: string) => void}} act
   * @returns {{node: HTMLElement|null, stop: () => void}} node null where there is one layer
   */
  function layerPlay(field, act) {
    const count = field.layers.length;
    if (!field.hasHeads || count < 2) return { node: null, stop() {} };
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    const button = CV.el("button", { type: "button", class: "cv-button cv-play", on: { click: press } });
    /** @type {ReturnType<typeof setTimeout> | null} */
    let timer = null;

    function label() {
      button.textContent = still.matches ? "Next layer" : timer ? "Pause" : "Play layers";
    }
    /** One layer on; false where that was the last. */
    function step() {
      const at = act.at();
      const next = at === null || at === count - 1 ? 0 : at + 1;
      act.go(next);
      return next < count - 1;
    }
    const tell = () => {
      const at = act.at() ?? 0;
      act.say(`${field.layers[at]}, ${at + 1} of ${count}, heads ${field.sum ? "summed" : "averaged"}.`);
    };

    function press() {
      if (timer) return pause();
      const more = step();
      if (still.matches || !more) return tell();
      timer = setTimeout(tick, PACE);
      for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, other, true);
      label();
    }
    function tick() {
      if (step()) timer = setTimeout(tick, PACE);
      else pause();
    }
    /**
     * Any key and any press elsewhere; those that press the button itself come as its click.
     * @type {(event: Event) => void}
     */
    function other(event) {
      const own = event.composedPath().includes(button);
      if (own && (event.type === "pointerdown" || ["Enter", " "].includes(/** @type {KeyboardEvent} */ (event).key))) return;
      pause();
    }
    function stop() {
      clearTimeout(timer);
      timer = null;
      for (const kind of ["pointerdown", "keydown"]) document.removeEventListener(kind, other, true);
      label();
    }
    function pause() {
      stop();
      tell();
    }
    function change() {
      if (timer) pause();
      label();
    }
    still.addEventListener("change", change);
    label();
    return {
      node: button,
      stop() {
        stop();
        still.removeEventListener("change", change);
      },
    };
  }

  Object.assign(CV, { layerPlay });
})();
