// The tiny maps of the heads. Where they are many, one canvas lies over the whole grid: each canvas is a layer of its own
// to the browser, and every frame of the page would pay for all of them.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  /**
   * A canvas in every cell, `place` of it.
   * @type {(field: Field, frames: HTMLElement[], place: Shares) => HeadMaps}
   */
  function ownCanvases(field, frames, place) {
    const made = frames.map((frame) => {
      const canvas = el("canvas", { width: field.gw, height: field.gh, "aria-hidden": "true" });
      for (const [key, share] of Object.entries(place)) canvas.style.setProperty(key, `${100 * share}%`);
      const name = frame.querySelector(".cv-head-name");
      frame.insertBefore(canvas, name);
      return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    });
    return {
      node: null,
      measure() {},
      draw: (index, image) => (image ? made[index].putImageData(image, 0, 0) : made[index].clearRect(0, 0, field.gw, field.gh)),
      stop() {},
    };
  }

  /**
   * One canvas for all cells.
   * @param {Field} field
   * @param {HTMLElement[]} frames
   * @param {HTMLElement} grid which holds the cells and scrolls them
   * @param {() => void} resized called when the maps are to be drawn anew
   * @returns {HeadMaps}
   */
  function oneCanvas(field, frames, grid, resized) {
    const node = el("canvas", { class: "cv-heads-canvas", "aria-hidden": "true" });
    const ctx = /** @type {CanvasRenderingContext2D} */ (node.getContext("2d"));
    const small = /** @type {CanvasRenderingContext2D} */ (el("canvas", { width: field.gw, height: field.gh }).getContext("2d"));
    /** @type {number[][]} */
    let boxes = [];
    let width = 0;
    const observer = new ResizeObserver(() => {
      if (width !== grid.clientWidth) resized();
    });
    observer.observe(grid);

    /**
     * Where the cells lie, if they may have moved; then whatever was drawn is gone.
     * @type {(moved: boolean) => void}
     */
    function measure(moved) {
      if (!moved && width === grid.clientWidth) return;
      width = grid.clientWidth;
      const ratio = Math.min(2, window.devicePixelRatio || 1);
      const css = frames.map((frame) => [frame.offsetLeft, frame.offsetTop, frame.offsetWidth, frame.offsetHeight]);
      const [right, bottom] = [Math.max(...css.map(([x, , w]) => x + w)), Math.max(...css.map(([, y, , h]) => y + h))];
      node.style.width = `${right}px`;
      node.style.height = `${bottom}px`;
      node.width = Math.round(ratio * right);
      node.height = Math.round(ratio * bottom);
      boxes = css.map((box) => box.map((v) => Math.round(ratio * v)));
    }
    /** @type {(index: number, image: ImageData | null) => void} */
    function draw(index, image) {
      const [x, y, w, h] = boxes[index];
      ctx.clearRect(x, y, w, h);
      if (!image) return;
      small.putImageData(image, 0, 0);
      ctx.drawImage(small.canvas, x, y, w, h);
    }
    return { node, measure, draw, stop: () => observer.disconnect() };
  }

  /**
   * @param {Field} field
   * @param {HTMLElement[]} frames one per head
   * @param {Shares | null} place of a map in its frame; null: the whole frame, and all maps in one canvas
   * @param {HTMLElement} grid
   * @param {() => void} resized
   * @returns {HeadMaps}
   */
  function headMaps(field, frames, place, grid, resized) {
    return place ? ownCanvases(field, frames, place) : oneCanvas(field, frames, grid, resized);
  }

  Object.assign(CV, { headMaps });
})();
