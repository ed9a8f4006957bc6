// What the model saw, drawn over the picture: the crop's edge, the grid of patches, and their numbers where they fit.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const SMALLEST = 9; // px of the numbers; where patches leave less room, only the first of each row has one
  const LARGEST = 13;

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {Payload} payload
   * @param {Palette} colours
   * @param {Size & {thin: number}} size in the canvas's pixels; `thin` is a thin line's width
   */
  function strokeSeen(ctx, payload, colours, { width, height, thin }) {
    const to = CV.gridToDisplay(payload, width, height);
    const { height: gh, width: gw } = payload.grid;
    const [left, right, top, bottom] = [to.x(0), to.x(gw), to.y(0), to.y(gh)];
    ctx.save();
    ctx.beginPath();
    for (let col = 1; col < gw; col++) {
      ctx.moveTo(to.x(col), top);
      ctx.lineTo(to.x(col), bottom);
    }
    for (let row = 1; row < gh; row++) {
      ctx.moveTo(left, to.y(row));
      ctx.lineTo(right, to.y(row));
    }
    ctx.strokeStyle = colours.grid;
    ctx.lineWidth = 0.8 * thin;
    ctx.stroke();
    // Inside the photo's edge, so that it is seen where the model saw the whole.
    const inset = 1.5 * thin;
    /** @type {(v: number, most: number) => number} */
    const clamp = (v, most) => Math.min(most - inset, Math.max(inset, v));
    const [x, y] = [clamp(left, width), clamp(top, height)];
    for (const [colour, line] of /** @type {[string, number][]} */ ([[colours.halo, 5 * thin], [colours.line, 2 * thin]])) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = line;
      ctx.strokeRect(x, y, clamp(right, width) - x, clamp(bottom, height) - y);
    }
    numbers(ctx, { gh, gw }, to, colours, thin);
    ctx.restore();
  }

  /** @type {(ctx: CanvasRenderingContext2D, grid: {gh: number, gw: number}, to: ToDisplay, colours: Palette, thin: number) => void} */
  function numbers(ctx, { gh, gw }, to, colours, thin) {
    const px = thin / 1.25; // a CSS pixel
    const [w, h] = [to.x(1) - to.x(0), to.y(1) - to.y(0)];
    /** @type {(size: number) => string} */
    const font = (size) => `600 ${size}px ${colours.font}`;
    ctx.font = font(SMALLEST * px);
    const widest = ctx.measureText(String(gh * gw)).width + 4 * px;
    const room = Math.min(h - 2 * px, SMALLEST * px * Math.max(1, w / widest));
    if (room < SMALLEST * px) return;
    const all = widest <= w;
    ctx.font = font(Math.min(LARGEST * px, room));
    ctx.textAlign = all ? "center" : "left";
    ctx.textBaseline = "middle";
    ctx.lineJoin = "round";
    ctx.lineWidth = 3 * px;
    ctx.strokeStyle = colours.halo;
    ctx.fillStyle = colours.line;
    for (let row = 0; row < gh; row++) {
      for (let col = 0; col < (all ? gw : 1); col++) {
        /** @type {[text: string, x: number, y: number]} */
        const at = [String(row * gw + col + 1), to.x(col) + (all ? w / 2 : 3 * px), to.y(row) + h / 2];
        ctx.strokeText(...at);
        ctx.fillText(...at);
      }
    }
  }

  /**
   * "The model saw 480 × 480 of the photo's 720 × 480 pixels, as 16 rows of 16 patches; they are numbered row by row, from 1 to 256."
   * @type {(payload: Payload) => string}
   */
  function seenInWords({ photo, view, grid }) {
    const [x0, y0, x1, y1] = view.crop_xyxy;
    /** @type {(low: number, high: number, most: number) => number} */
    const span = (low, high, most) => Math.round(Math.min(most, high) - Math.max(0, low));
    const [w, h] = [span(x0, x1, photo.width), span(y0, y1, photo.height)];
    const whole = w === photo.width && h === photo.height;
    const what = whole ? `the whole photo (${w} × ${h} pixels)` : `${w} × ${h} of the photo's ${photo.width} × ${photo.height} pixels`;
    return `The model saw ${what}, as ${grid.height} rows of ${grid.width} patches, numbered row by row from 1 to ${grid.height * grid.width}.`;
  }

  Object.assign(CV, { strokeSeen, seenInWords });
})();
