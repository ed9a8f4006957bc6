// One map minus another on the same photo: at every pixel, and how much attention lies elsewhere.
// Mirrors crossviz/render/difference.py and crossviz/map_difference.py, in double precision.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  /**
   * Displayed values at every display pixel; NaN where the model did not look. `side` {payload, field, values}.
   * @type {(side: Side, size: Size & {smooth: boolean}) => Float64Array}
   */
  function sampled({ payload, field, values }, { width, height, smooth }) {
    const out = new Float64Array(width * height).fill(NaN);
    const displayed = values.map((value) => value * field.factor);
    CV.eachRow(displayed, field, CV.displayAxes(payload, width, height), width, smooth, (start, row, first, stop) => {
      for (let i = first; i < stop; i++) out[start + i] = row[i];
    });
    return out;
  }

  /**
   * First minus second at every display pixel, in displayed units; NaN where not both models saw the photo.
   * @param {Side} first
   * @param {Side} second
   * @param {Size & {smooth: boolean}} size
   * @returns {Float64Array} row by row
   */
  function subtract(first, second, size) {
    const out = sampled(first, size);
    const other = sampled(second, size);
    for (let i = 0; i < out.length; i++) out[i] -= other[i];
    return out;
  }

  /**
   * The heat of a difference: ImageData, straight alpha.
   * @param {Float64Array} values of `subtract`, at that size
   * @param {Size & {opacity: number, cmap: string, vmax: number}} look
   */
  function heatDifference(values, { width, height, opacity, cmap, vmax }) {
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const table = CV.packedTable(cmap, opacity, true);
    for (let i = 0; i < values.length; i++) {
      if (!Number.isNaN(values[i])) pixels[i] = table[Math.floor(128.5 + 127 * Math.min(1, Math.max(-1, values[i] / vmax)))];
    }
    return image;
  }

  /** @type {(edges: number[]) => number[]} */
  const cuts = (edges) => [...new Set(edges)].sort((a, b) => a - b);
  /** @type {(start: number, end: number, cells: number) => number[]} */
  const edgesOf = (start, end, cells) => Array.from({ length: cells + 1 }, (_, k) => start + k * ((end - start) / cells));

  /**
   * For each stretch between two cuts the cell of `edges` that it lies in, or -1.
   * @type {(edges: number[], lines: number[]) => number[]}
   */
  function cellsOf(edges, lines) {
    return lines.slice(1).map((end, i) => {
      const middle = (lines[i] + end) / 2;
      const at = edges.findLastIndex((edge) => edge <= middle);
      return at < edges.length - 1 ? at : -1;
    });
  }

  /**
   * The total variation distance of two maps of probabilities over the photo and the null key: 0 the same, 1 nothing in
   * common. Patches of different grids are compared by the part of each that lies in each other.
   * @param {Side} first
   * @param {Side} second
   */
  function moved(first, second) {
    const sides = [first, second].map(({ payload, field, values, nullMass }) => {
      const [x0, y0, x1, y1] = payload.view.crop_xyxy;
      const density = (field.gh * field.gw) / ((x1 - x0) * (y1 - y0));
      return { values, density, gw: field.gw, nullMass: nullMass || 0, x: edgesOf(x0, x1, field.gw), y: edgesOf(y0, y1, field.gh) };
    });
    const [xs, ys] = /** @type {("x" | "y")[]} */ (["x", "y"]).map((axis) => cuts(sides.flatMap((side) => side[axis])));
    const cells = sides.map((side) => ({ columns: cellsOf(side.x, xs), rows: cellsOf(side.y, ys) }));
    /** @type {(side: number, row: number, col: number) => number} */
    const density = (i, row, col) => {
      const [r, c] = [cells[i].rows[row], cells[i].columns[col]];
      return r < 0 || c < 0 ? 0 : sides[i].values[r * sides[i].gw + c] * sides[i].density;
    };
    let sum = Math.abs(sides[0].nullMass - sides[1].nullMass);
    for (let row = 0; row + 1 < ys.length; row++) {
      for (let col = 0; col + 1 < xs.length; col++) {
        sum += Math.abs(density(0, row, col) - density(1, row, col)) * (ys[row + 1] - ys[row]) * (xs[col + 1] - xs[col]);
      }
    }
    return Math.min(1, sum / 2);
  }

  Object.assign(CV, { subtract, heatDifference, moved });
})();
