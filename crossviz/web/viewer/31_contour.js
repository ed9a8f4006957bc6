// The smallest region of a map that holds a share of its mass: its level, its area, and the line around it.
// Mirrors crossviz/render/contour.py, in double precision.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const BINS = 512; // of values, when the smallest region is looked for
  const SAMPLES = 8; // lattice points per patch and axis, as contour.SAMPLES

  /**
   * Neighbours and weights of bilinear interpolation at grid coordinates, clamped at the edges.
   * @param {Float64Array} coords
   * @param {number} size
   */
  function sampleAxis(coords, size) {
    const n = coords.length;
    const low = new Int32Array(n);
    const high = new Int32Array(n);
    const weight = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      const u = Math.min(size - 1, Math.max(0, coords[i] - 0.5));
      low[i] = Math.floor(u);
      high[i] = Math.min(low[i] + 1, size - 1);
      weight[i] = u - low[i];
    }
    return { low, high, weight };
  }

  /**
   * The values at all pairs of grid coordinates (y, x), row by row. Horizontal first, then vertical.
   * @type {(values: Float64Array, gh: number, gw: number, xs: Float64Array, ys: Float64Array) => Float64Array}
   */
  function bilinear(values, gh, gw, xs, ys) {
    const x = sampleAxis(xs, gw);
    const y = sampleAxis(ys, gh);
    const w = xs.length;
    const rows = new Float64Array(gh * w);
    for (let r = 0; r < gh; r++) {
      for (let i = 0; i < w; i++) {
        rows[r * w + i] = values[r * gw + x.low[i]] * (1 - x.weight[i]) + values[r * gw + x.high[i]] * x.weight[i];
      }
    }
    const out = new Float64Array(ys.length * w);
    for (let j = 0; j < ys.length; j++) {
      const top = y.low[j] * w;
      const bottom = y.high[j] * w;
      const wy = y.weight[j];
      for (let i = 0; i < w; i++) out[j * w + i] = rows[top + i] * (1 - wy) + rows[bottom + i] * wy;
    }
    return out;
  }

  /** @type {(n: number) => Float64Array} */
  const lattice = (n) => Float64Array.from({ length: n * SAMPLES }, (_, k) => (k + 0.5) / SAMPLES);

  /**
   * The smallest region that holds a share of a map's positive mass.
   * @param {Float64Array} values raw, `gh * gw`
   * @param {number} gh
   * @param {number} gw
   * @param {boolean} smooth the bilinear map, or the patches themselves
   * @param {number} share 0..1
   * @returns {{level: number, area: number, mass: number}} the value at its edge, its share of the area, what it holds
   */
  function smallestRegion(values, gh, gw, smooth, share = 0.5) {
    const positive = Float64Array.from(values, (v) => Math.max(v, 0));
    const field = smooth ? bilinear(positive, gh, gw, lattice(gw), lattice(gh)) : positive;
    let top = 0;
    let total = 0;
    for (let i = 0; i < field.length; i++) {
      total += field[i];
      if (field[i] > top) top = field[i];
    }
    if (!(total > 0)) return { level: 0, area: 1, mass: 0 };
    // From the highest down. Sorted by bins, and inside only the bin that the share ends in: all of them would take long.
    const sums = new Float64Array(BINS);
    const counts = new Int32Array(BINS);
    const scale = (BINS - 1) / top;
    for (let i = 0; i < field.length; i++) {
      const bin = Math.floor(field[i] * scale);
      sums[bin] += field[i];
      counts[bin]++;
    }
    let bin = BINS - 1;
    let running = 0;
    let above = 0;
    while (bin > 0 && running + sums[bin] < share * total) {
      above += counts[bin];
      running += sums[bin--];
    }
    const last = field.filter((v) => Math.floor(v * scale) === bin).sort();
    let i = last.length;
    do running += last[--i];
    while (running < share * total && i > 0);
    return { level: last[i], area: (above + last.length - i) / field.length, mass: running / total };
  }

  /**
   * Line segments [x0, y0, x1, y1, ...] in grid coordinates around {value >= level}.
   * @param {Float64Array} values raw, `gh * gw`
   * @param {number} gh
   * @param {number} gw
   * @param {boolean} smooth
   * @param {number} level
   * @returns {number[]}
   */
  function outlineAt(values, gh, gw, smooth, level) {
    return smooth ? smoothOutline(values, gh, gw, level) : patchOutline(values, gh, gw, level);
  }

  /**
   * Marching squares over the lattice, closed along the edge by a ring of zero width below every level.
   * @type {(values: Float64Array, gh: number, gw: number, level: number) => number[]}
   */
  function smoothOutline(values, gh, gw, level) {
    const positive = Float64Array.from(values, (v) => Math.max(v, 0));
    /** @type {(n: number) => Float64Array} */
    const axis = (n) => Float64Array.from([0, 0, ...lattice(n), n, n]);
    const xs = axis(gw);
    const ys = axis(gh);
    const [w, h] = [xs.length, ys.length];
    const inner = bilinear(positive, gh, gw, xs.subarray(1, w - 1), ys.subarray(1, h - 1));
    const grid = new Float64Array(w * h).fill(Math.min(0, level) - 1);
    for (let j = 1; j < h - 1; j++) grid.set(inner.subarray((j - 1) * (w - 2), j * (w - 2)), j * w + 1);

    const out = [];
    for (let j = 0; j + 1 < h; j++) {
      let at = j * w;
      let left = (grid[at] >= level ? 8 : 0) + (grid[at + w] >= level ? 1 : 0);
      for (let i = 0; i + 1 < w; i++, at++) {
        const right = (grid[at + 1] >= level ? 4 : 0) + (grid[at + w + 1] >= level ? 2 : 0);
        const code = left + right;
        left = 2 * (right & 4) + ((right & 2) >> 1); // what is at the right here is at the left of the next
        if (code === 0 || code === 15) continue;
        const [nw, ne, sw, se] = [grid[at], grid[at + 1], grid[at + w], grid[at + w + 1]];
        // Where the level crosses the cell's four sides; only those that it crosses are used.
        const [x, y, dx, dy] = [xs[i], ys[j], xs[i + 1] - xs[i], ys[j + 1] - ys[j]];
        const north = x + (dx * (level - nw)) / (ne - nw);
        const south = x + (dx * (level - sw)) / (se - sw);
        const east = y + (dy * (level - ne)) / (se - ne);
        const west = y + (dy * (level - nw)) / (sw - nw);
        if (code === 1 || code === 14 || code === 10) out.push(x, west, south, y + dy);
        if (code === 2 || code === 13 || code === 5) out.push(south, y + dy, x + dx, east);
        if (code === 3 || code === 12) out.push(x, west, x + dx, east);
        if (code === 4 || code === 11 || code === 10) out.push(north, y, x + dx, east);
        if (code === 6 || code === 9) out.push(north, y, south, y + dy);
        if (code === 7 || code === 8 || code === 5) out.push(x, west, north, y);
      }
    }
    return out;
  }

  /**
   * The edges between patches inside and outside the region.
   * @type {(values: Float64Array, gh: number, gw: number, level: number) => number[]}
   */
  function patchOutline(values, gh, gw, level) {
    /** @type {(r: number, c: number) => boolean} */
    const inside = (r, c) => r >= 0 && c >= 0 && r < gh && c < gw && Math.max(values[r * gw + c], 0) >= level;
    /** @type {number[]} */
    const out = [];
    for (let r = 0; r < gh; r++) {
      for (let c = 0; c < gw; c++) {
        if (!inside(r, c)) continue;
        if (!inside(r - 1, c)) out.push(c, r, c + 1, r);
        if (!inside(r + 1, c)) out.push(c, r + 1, c + 1, r + 1);
        if (!inside(r, c - 1)) out.push(c, r, c, r + 1);
        if (!inside(r, c + 1)) out.push(c + 1, r, c + 1, r + 1);
      }
    }
    return out;
  }

  Object.assign(CV, { sampleAxis, smallestRegion, outlineAt });
})();
