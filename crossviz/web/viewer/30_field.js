// The numbers behind the picture: decoding the payload, choosing a map, its statistics and its outline.
// Mirrors crossviz/render/scale.py, contour.py and the arithmetic written at the top of overlay.py, in double precision.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const SAMPLES = 8; // lattice points per patch and axis, as contour.SAMPLES
  const FLOOR_POWER = 0.5; // square root, as scale.Scale.power for unsigned maps

  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

  /** All maps of one explanation. Values are raw (in the method's unit); null selects all layers or all heads. */
  class Field {
    constructor(payload) {
      this.gh = payload.grid.height;
      this.gw = payload.grid.width;
      this.size = this.gh * this.gw;
      this.words = payload.caption.words.length;
      this.layers = payload.layers || [];
      this.heads = payload.heads || 0;
      this.sum = payload.method.reduce === "sum";
      this.signed = Boolean(payload.method.signed);
      this.isProbability = payload.method.unit === "probability";
      this.unit = payload.method.unit;
      this.reads = payload.method.text_dependent !== false; // else every word has the same map
      // Of "query: image, key: text" the patches look at the word; else the word looks at them.
      this.looked = /^query: image, key: text/.test(payload.method.direction || "");
      this.factor = this.isProbability ? 1 / payload.chance : 1;
      this.vmin = this.isProbability ? 1 : 0;
      this.vmax = payload.vmax;
      this.nulls = payload.null || null;
      this._means = { ...payload.means, bytes: bytes(payload.means.data) };
      this._maps = payload.maps ? { ...payload.maps, bytes: bytes(payload.maps.data) } : null;
      this.hasHeads = Boolean(this._maps) && this.layers.length * this.heads > 1;
      this._cache = new Map();
      this._tops = {};
    }

    _decode(block, index) {
      const out = new Float64Array(this.size);
      const step = block.scale[index] / 255;
      const offset = block.offset[index];
      const start = index * this.size;
      for (let i = 0; i < this.size; i++) out[i] = offset + step * block.bytes[start + i];
      return out;
    }

    _remember(key, make) {
      let value = this._cache.get(key);
      if (value === undefined) {
        if (this._cache.size > 600) this._cache.clear();
        value = make();
        this._cache.set(key, value);
      }
      return value;
    }

    /** Raw values `gh * gw` of a word. */
    values(word, layer = null, head = null) {
      return this._remember(`v${word}.${layer}.${head}`, () => {
        if ((layer === null && head === null) || !this._maps) return this._decode(this._means, word);
        const layers = layer === null ? this.layers.keys() : [layer];
        const heads = head === null ? [...Array(this.heads).keys()] : [head];
        const out = new Float64Array(this.size);
        let n = 0;
        for (const l of layers) {
          for (const h of heads) {
            const one = this._decode(this._maps, (l * this.heads + h) * this.words + word);
            for (let i = 0; i < this.size; i++) out[i] += one[i];
            n += 1;
          }
        }
        if (!this.sum) for (let i = 0; i < this.size; i++) out[i] /= n;
        return out;
      });
    }

    /** The share of a word's attention that went to the null key, or null where the method has none. */
    nullMass(word, layer = null, head = null) {
      if (!this.nulls) return null;
      if (layer === null && head === null) return this.nulls.mean[word];
      let total = 0;
      let n = 0;
      this.nulls.head.forEach((row, l) => {
        if (layer !== null && l !== layer) return;
        row.forEach((words, h) => {
          if (head !== null && h !== head) return;
          total += words[word];
          n += 1;
        });
      });
      return total / n;
    }

    /** What the readout says about a word: peak (displayed unit), total, and the region that holds half of its mass. */
    stats(word, layer, head, smooth) {
      return this._remember(`s${word}.${layer}.${head}.${smooth}`, () => {
        const values = this.values(word, layer, head);
        let at = 0;
        let total = 0;
        for (let i = 0; i < values.length; i++) {
          total += values[i];
          if (values[i] > values[at]) at = i;
        }
        const half = halfMass(values, this.gh, this.gw, smooth);
        return { peak: values[at] * this.factor, at, total, half };
      });
    }

    /** Whether a choice of layer or head has a scale of its own kind: single parts of a sum are far smaller than it. */
    groups(layer, head) {
      return this.sum && Boolean(this._maps) && (layer ?? head ?? null) !== null;
    }

    /** The largest absolute value of any word in any part of the sum of the same kind: one head, or one layer, ... */
    _groupMax(oneLayer, oneHead) {
      const key = `${oneLayer}.${oneHead}`;
      if (this._tops[key] !== undefined) return this._tops[key];
      let top = 0;
      if (oneLayer && oneHead) {
        this._maps.offset.forEach((low, i) => {
          top = Math.max(top, Math.abs(low), Math.abs(low + this._maps.scale[i]));
        });
      } else {
        for (const l of oneLayer ? this.layers.keys() : [null]) {
          for (const h of oneHead ? Array(this.heads).keys() : [null]) {
            for (let word = 0; word < this.words; word++) {
              for (const v of this.values(word, l, h)) top = Math.max(top, Math.abs(v));
            }
          }
        }
      }
      this._tops[key] = top * this.factor || this.vmax;
      return this._tops[key];
    }

    /**
     * Where a map lies on the colour scale: the end that all words share (and, of a sum's parts, all parts of the same
     * kind), or with `own` the map's own end.
     */
    scaleFor(values, { layer = null, head = null, own = false } = {}) {
      const vmax = this.groups(layer, head) ? this._groupMax(layer !== null, head !== null) : this.vmax;
      const shared = { vmin: this.signed ? -vmax : this.vmin, vmax, signed: this.signed };
      if (!own) return shared;
      let top = this.signed ? 0 : this.vmin;
      for (const v of values) top = Math.max(top, (this.signed ? Math.abs(v) : v) * this.factor);
      if (this.signed) return top > 0 ? { vmin: -top, vmax: top, signed: true } : shared;
      return top > this.vmin ? { ...shared, vmax: top } : shared;
    }

    /** Line segments [x0, y0, x1, y1, ...] in grid coordinates around the half-mass region. */
    outline(word, layer, head, smooth) {
      return this._remember(`o${word}.${layer}.${head}.${smooth}`, () => {
        const { half } = this.stats(word, layer, head, smooth);
        if (!half.mass || half.level * this.factor <= (this.signed ? 0.05 * this.vmax : this.vmin)) return [];
        const values = this.values(word, layer, head);
        return smooth
          ? smoothOutline(values, this.gh, this.gw, half.level)
          : patchOutline(values, this.gh, this.gw, half.level);
      });
    }
  }

  /** Position t on the scale, in [0, 1], or [-1, 1] if signed. */
  function position(displayed, scale) {
    if (scale.signed) return Math.min(1, Math.max(-1, displayed / scale.vmax));
    return Math.min(1, Math.max(0, (displayed - scale.vmin) / (scale.vmax - scale.vmin))) ** FLOOR_POWER;
  }

  /** Neighbours and weights of bilinear interpolation at grid coordinates, clamped at the edges. */
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

  /** The values at all pairs of grid coordinates (y, x), row by row. Horizontal first, then vertical. */
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

  const lattice = (n) => Float64Array.from({ length: n * SAMPLES }, (_, k) => (k + 0.5) / SAMPLES);

  /** The smallest region that holds half of a map's positive mass: its level, its share of the area, its mass. */
  function halfMass(values, gh, gw, smooth) {
    const positive = Float64Array.from(values, (v) => Math.max(v, 0));
    const field = smooth ? bilinear(positive, gh, gw, lattice(gw), lattice(gh)) : positive;
    const ordered = field.slice().sort();
    let total = 0;
    for (let i = ordered.length - 1; i >= 0; i--) total += ordered[i];
    if (!(total > 0)) return { level: 0, area: 1, mass: 0 };
    let running = 0;
    let i = ordered.length;
    do running += ordered[--i];
    while (running < 0.5 * total && i > 0);
    return { level: ordered[i], area: (ordered.length - i) / ordered.length, mass: running / total };
  }

  /** Marching squares over the lattice, closed along the edge by a ring of zero width below every level. */
  function smoothOutline(values, gh, gw, level) {
    const positive = Float64Array.from(values, (v) => Math.max(v, 0));
    const axis = (n) => Float64Array.from([0, 0, ...lattice(n), n, n]);
    const xs = axis(gw);
    const ys = axis(gh);
    const [w, h] = [xs.length, ys.length];
    const inner = bilinear(positive, gh, gw, xs.subarray(1, w - 1), ys.subarray(1, h - 1));
    const grid = new Float64Array(w * h).fill(Math.min(0, level) - 1);
    for (let j = 1; j < h - 1; j++) grid.set(inner.subarray((j - 1) * (w - 2), j * (w - 2)), j * w + 1);

    const out = [];
    for (let j = 0; j + 1 < h; j++) {
      for (let i = 0; i + 1 < w; i++) {
        const at = j * w + i;
        const [nw, ne, sw, se] = [grid[at], grid[at + 1], grid[at + w], grid[at + w + 1]];
        const code = (nw >= level ? 8 : 0) + (ne >= level ? 4 : 0) + (se >= level ? 2 : 0) + (sw >= level ? 1 : 0);
        if (code === 0 || code === 15) continue;
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

  /** The edges between patches inside and outside the region. */
  function patchOutline(values, gh, gw, level) {
    const inside = (r, c) => r >= 0 && c >= 0 && r < gh && c < gw && Math.max(values[r * gw + c], 0) >= level;
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

  Object.assign(CV, { Field, position, sampleAxis });
})();
