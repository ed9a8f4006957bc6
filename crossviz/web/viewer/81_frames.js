// The picture as it was at each step, from one sprite, and the time line that goes through the steps.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  const WHOLE = 4000; // ms that playing all frames takes
  const PACES = [40, 400]; // ms that a frame is shown, at least and at most

  /**
   * A canvas that lies over the finished picture; hidden where that is shown.
   * @param {Generation} generation
   */
  function frames({ frames: { src, width, height, columns, steps }, picture }) {
    const sprite = el("img", { src, alt: "" });
    const canvas = el("canvas", { class: "cv-photo", width, height, "aria-hidden": "true", hidden: true });
    /** @type {(pen: CanvasRenderingContext2D, index: number, size: Size) => void} */
    const put = (pen, index, size) => {
      pen.imageSmoothingQuality = "high";
      pen.drawImage(sprite, (index % columns) * width, Math.floor(index / columns) * height, width, height, 0, 0, size.width, size.height);
    };
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    return {
      node: canvas,
      steps,
      ready: sprite.decode().catch(() => undefined),
      /** @type {(index: number) => void} */
      show(index) {
        canvas.hidden = index === steps.length - 1;
        if (!canvas.hidden) put(pen, index, { width, height });
      },
      /**
       * A frame at the picture's own size, for what is saved of the view.
       * @type {(index: number) => HTMLCanvasElement}
       */
      picture(index) {
        const whole = el("canvas", { width: picture.width, height: picture.height });
        put(/** @type {CanvasRenderingContext2D} */ (whole.getContext("2d")), index, whole);
        return whole;
      },
    };
  }

  /**
   * A slider over the frames with a button that plays them; where reduced motion is asked for, the button goes one frame
   * further and nothing plays.
   * @param {number[]} steps done at each frame
   * @param {{go: (index: number) => void, say: (text: string) => void}} act
   * @returns {{node: HTMLElement, stop: () => void}}
   */
  function timeline(steps, act) {
    const last = steps.length - 1;
    const total = steps[last];
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    const id = CV.uid("time");
    const shown = el("output", { class: "cv-figure", for: id, "aria-live": "off" }); // the slider says it
    const input = el("input", { id, class: "cv-slider cv-time", type: "range", min: 0, max: last, step: 1, value: last });
    const button = el("button", { type: "button", class: "cv-button cv-play", on: { click: press } });
    const pace = Math.min(PACES[1], Math.max(PACES[0], WHOLE / steps.length));
    /** @type {ReturnType<typeof setTimeout> | null} */
    let timer = null;

    /** @type {(index: number) => string} */
    const told = (index) => (index === last ? `finished, ${total} steps` : `step ${steps[index]} of ${total}`);
    function label() {
      button.textContent = still.matches ? "Next step" : timer ? "Pause" : "Play";
    }
    /** @type {(index: number) => void} */
    function put(index) {
      input.value = String(index);
      shown.textContent = told(index);
      input.setAttribute("aria-valuetext", told(index));
    }
    /** @type {(index: number) => void} */
    function go(index) {
      put(index);
      act.go(index);
    }
    /** One frame on, from the last to the first; false where that was the last. */
    function step() {
      const next = Number(input.value) === last ? 0 : Number(input.value) + 1;
      go(next);
      return next < last;
    }
    function stop() {
      clearTimeout(timer);
      timer = null;
      label();
    }
    function tick() {
      if (step()) timer = setTimeout(tick, pace);
      else stop();
    }
    function press() {
      if (timer) {
        stop();
        return act.say(told(Number(input.value)));
      }
      const more = step();
      if (still.matches || !more) return act.say(told(Number(input.value)));
      timer = setTimeout(tick, pace);
      label();
    }
    input.addEventListener("input", () => {
      stop();
      go(Number(input.value));
    });
    input.addEventListener("change", () => act.say(told(Number(input.value))));
    still.addEventListener("change", stop);
    put(last);
    label();
    const node = el("div", { class: "cv-timeline" }, button, el("label", { for: id, class: "cv-label", text: "Time " }, shown), input);
    return {
      node,
      stop() {
        stop();
        still.removeEventListener("change", stop);
      },
    };
  }

  Object.assign(CV, { frames, timeline });
})();
