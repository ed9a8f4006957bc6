// The numbers behind the picture: choosing a map, its statistics and its outline.
// Mirrors crossviz/render/scale.py, contour.py and the arithmetic written at the top of overlay.py, in double precision.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const CACHED = 4e6; // numbers of maps that are kept: 32 MB
  const FLOOR_POWER = 0.5; // square root, as scale.Scale.power for unsigned maps

  /**
   * A run of words by its two ends: a word's index, or of several "2-4", which is a phrase.
   * @param {number} one index of the word at one end
   * @param {number} other index of the word at the other
   * @returns {number|string}
   */
  function runOf(one, other) {
    return one === other ? one : `${Math.min(one, other)}-${Math.max(one, other)}`;
  }

  /**
   * The indices of the words of a run.
   * @param {number|string} what
   * @returns {number[]}
   */
  function membersOf(what) {
    if (typeof what === "number") return [what];
    const [first, last] = what.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  }

  /**
   * All maps of one explanation, which were unpacked (`CV.unpack`). Values are raw (in the method's unit).
   * `what` is a word or a phrase (`runOf`); a phrase's map is the mean over its words' tokens, as RelevanceMap.select's.
   * `layer` is an index or null for all; `head` an index, null for all, or a list of [layer, head] whose mean is meant.
   */
  class Field {
    /** @param {Payload} payload */
    constructor(payload) {
      this.payload = payload;
      this.gh = payload.grid.height;
      this.gw = payload.grid.width;
      this.size = this.gh * this.gw;
      this.words = payload.caption.words.length;
      this.caption = payload.caption;
      this.slice = CV.slicer(payload.caption.text);
      this.layers = payload.layers || [];
      this.heads = payload.heads || 0;
      this.sum = payload.method.reduce === "sum";
      this.signed = Boolean(payload.method.signed);
      this.isProbability = payload.method.unit === "probability";
      this.unit = payload.method.unit;
      this.reads = payload.method.text_dependent !== false; // else every word has the same map
      // Of "query: image, key: text" the patches look at the word; else the word looks at them.
      this.looked = /^query: image, key: text/.test(payload.method.direction || "");
      this.wrote = false; // whether they did so while they were drawn from it
      this.alike = "looks everywhere alike"; // what chance is
      this.factor = this.isProbability ? 1 / payload.chance : 1;
      this.vmin = this.isProbability ? 1 : 0;
      this.vmax = payload.vmax;
      this.nulls = payload.null || null;
      this._means = new CV.Maps(payload.means, this.gh, this.gw);
      this._maps = payload.maps ? new CV.Maps(payload.maps, this.gh, this.gw) : null;
      this.hasHeads = Boolean(this._maps) && this.layers.length * this.heads > 1;
      /** @type {Map<string, any>} */
      this._cache = new Map();
      this._most = Math.max(600, Math.floor(CACHED / this.size));
      /** @type {Record<string, number>} */
      this._tops = {};
    }

    /**
     * A word's or phrase's text as it stands in the caption.
     * @param {What} what
     * @returns {string}
     */
    text(what) {
      const { start, end } = this.span(what);
      return this.slice(start, end);
    }

    /**
     * Its start and end in the caption, in characters as Python counts them.
     * @param {What} what
     * @returns {Span}
     */
    span(what) {
      const words = membersOf(what);
      return { start: this.caption.words[words[0]].start, end: this.caption.words[words[words.length - 1]].end };
    }

    /**
     * Each word's part in the mean over its tokens: [[word, weight], ...]; the weights sum to 1.
     * @param {What} what
     * @returns {[word: number, weight: number][]}
     */
    weights(what) {
      if (typeof what === "number") return [[what, 1]];
      const words = membersOf(what);
      const tokens = words.map((word) => this.caption.words[word].tokens);
      const total = tokens.reduce((sum, n) => sum + n, 0);
      /** @type {[word: number, weight: number][]} */
      const parts = words.map((word, i) => [word, tokens[i] / total]);
      return parts.filter(([, weight]) => weight > 0);
    }

    /**
     * @template T
     * @param {string} key
     * @param {() => T} make
     * @returns {T}
     */
    _remember(key, make) {
      let value = this._cache.get(key);
      if (value === undefined) {
        // Those that came first go first: a word that is pointed at must not cost all that was worked out before.
        if (this._cache.size >= this._most) this._cache.delete(/** @type {string} */ (this._cache.keys().next().value));
        value = make();
        this._cache.set(key, value);
      }
      return value;
    }

    /**
     * The single heads that a choice takes together: [[layer, head], ...].
     * @param {number | null} layer
     * @param {HeadChoice} head
     * @returns {Pin[]}
     */
    parts(layer, head) {
      if (Array.isArray(head)) return head;
      const layers = layer === null ? [...this.layers.keys()] : [layer];
      const heads = head === null ? [...Array(this.heads).keys()] : [head];
      return layers.flatMap((l) => heads.map((h) => /** @type {Pin} */ ([l, h])));
    }

    /**
     * Raw values `gh * gw`.
     * @param {What} what
     * @param {number | null} [layer]
     * @param {HeadChoice} [head]
     * @returns {Float64Array}
     */
    values(what, layer = null, head = null) {
      return this._remember(`v${what}.${layer}.${head}`, () => {
        const out = new Float64Array(this.size);
        if (typeof what === "string") {
          for (const [word, weight] of this.weights(what)) {
            const one = this.values(word, layer, head);
            for (let i = 0; i < this.size; i++) out[i] += weight * one[i];
          }
          return out;
        }
        if ((layer === null && head === null) || !this._maps) return this._means.map(what);
        const parts = this.parts(layer, head);
        for (const [l, h] of parts) {
          const one = this._maps.map((l * this.heads + h) * this.words + what);
          for (let i = 0; i < this.size; i++) out[i] += one[i];
        }
        // Heads that were picked one by one are no part of a whole: their mean compares with a single head.
        if (!this.sum || Array.isArray(head)) for (let i = 0; i < this.size; i++) out[i] /= parts.length;
        return out;
      });
    }

    /**
     * The share of its attention that went to the null key, or null where the method has none.
     * @param {What} what
     * @param {number | null} [layer]
     * @param {HeadChoice} [head]
     * @returns {number | null}
     */
    nullMass(what, layer = null, head = null) {
      const { nulls } = this;
      if (!nulls) return null;
      if (typeof what === "string") {
        return this.weights(what).reduce((sum, [word, weight]) => sum + weight * Number(this.nullMass(word, layer, head)), 0);
      }
      if (layer === null && head === null) return nulls.mean[what];
      const parts = this.parts(layer, head);
      return parts.reduce((sum, [l, h]) => sum + nulls.head[l][h][what], 0) / parts.length;
    }

    /**
     * What the readout says: peak (displayed unit), total, and the smallest region that holds `share` of its mass.
     * @param {What} what
     * @param {number | null} layer
     * @param {HeadChoice} head
     * @param {boolean} smooth
     * @param {number} share
     * @returns {Stats}
     */
    stats(what, layer, head, smooth, share = 0.5) {
      return this._remember(`s${what}.${layer}.${head}.${smooth}.${share}`, () => {
        const values = this.values(what, layer, head);
        let at = 0;
        let total = 0;
        for (let i = 0; i < values.length; i++) {
          total += values[i];
          if (values[i] > values[at]) at = i;
        }
        const half = CV.smallestRegion(values, this.gh, this.gw, smooth, share);
        return { peak: values[at] * this.factor, at, total, half };
      });
    }

    /**
     * Where it lies in the photo, as `CV.places`.
     * @param {What} what
     * @param {number | null} layer
     * @param {HeadChoice} head
     * @param {number} share
     * @returns {string[]}
     */
    places(what, layer, head, share) {
      return this._remember(`p${what}.${layer}.${head}.${share}`, () => CV.places(this.values(what, layer, head), this.payload, share));
    }

    /**
     * The figures of one head, as `CV.headFigure`.
     * @param {What} what
     * @param {number} layer
     * @param {number} head
     * @returns {HeadFigure}
     */
    figure(what, layer, head) {
      return this._remember(`f${what}.${layer}.${head}`, () => CV.headFigure(this, what, layer, head));
    }

    /**
     * The figures of every head, layer by layer.
     * @param {What} what
     * @returns {HeadFigure[]}
     */
    figures(what) {
      return this.parts(null, null).map(([layer, head]) => this.figure(what, layer, head));
    }

    /**
     * Whether a choice of layer or head has a scale of its own kind: single parts of a sum are far smaller than it.
     * @param {number | null} layer
     * @param {HeadChoice} head
     * @returns {boolean}
     */
    groups(layer, head) {
      return this.sum && Boolean(this._maps) && (layer ?? head ?? null) !== null;
    }

    /**
     * The largest absolute value of any word in any part of the sum of the same kind: one head, or one layer, ...
     * @param {boolean} oneLayer
     * @param {boolean} oneHead
     * @returns {number}
     */
    _groupMax(oneLayer, oneHead) {
      const key = `${oneLayer}.${oneHead}`;
      if (this._tops[key] !== undefined) return this._tops[key];
      let top = 0;
      const maps = this._maps;
      if (maps && oneLayer && oneHead) {
        for (let i = 0; i < maps.count; i++) top = Math.max(top, ...maps.ends(i).map(Math.abs));
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
     * @param {Iterable<number>} values
     * @param {Partial<Through> & {own?: boolean}} [choice]
     * @returns {Scale}
     */
    scaleFor(values, { layer = null, head = null, own = false } = {}) {
      const single = Array.isArray(head);
      const vmax = this.groups(layer, head) ? this._groupMax(single || layer !== null, head !== null) : this.vmax;
      const shared = { vmin: this.signed ? -vmax : this.vmin, vmax, signed: this.signed };
      if (!own) return shared;
      let top = this.signed ? 0 : this.vmin;
      for (const v of values) top = Math.max(top, (this.signed ? Math.abs(v) : v) * this.factor);
      if (this.signed) return top > 0 ? { vmin: -top, vmax: top, signed: true } : shared;
      return top > this.vmin ? { ...shared, vmax: top } : shared;
    }

    /**
     * Whether a level lies above the scale's start, so that what it encloses is seen.
     * @param {number} level
     * @returns {boolean}
     */
    stands(level) {
      return level * this.factor > (this.signed ? 0.05 * this.vmax : this.vmin);
    }

    /**
     * Line segments [x0, y0, x1, y1, ...] in grid coordinates around the region that holds `share` of the mass.
     * @param {What} what
     * @param {number | null} layer
     * @param {HeadChoice} head
     * @param {boolean} smooth
     * @param {number} share
     * @returns {number[]}
     */
    outline(what, layer, head, smooth, share = 0.5) {
      return this._remember(`o${what}.${layer}.${head}.${smooth}.${share}`, () => {
        const { half } = this.stats(what, layer, head, smooth, share);
        if (!half.mass || !this.stands(half.level)) return [];
        return CV.outlineAt(this.values(what, layer, head), this.gh, this.gw, smooth, half.level);
      });
    }
  }

  /**
   * Position t on the scale, in [0, 1], or [-1, 1] if signed.
   * @type {(displayed: number, scale: Scale) => number}
   */
  function position(displayed, scale) {
    if (scale.signed) return Math.min(1, Math.max(-1, displayed / scale.vmax));
    return Math.min(1, Math.max(0, (displayed - scale.vmin) / (scale.vmax - scale.vmin))) ** FLOOR_POWER;
  }

  Object.assign(CV, { Field, position, runOf, membersOf });
})();
