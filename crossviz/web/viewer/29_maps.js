// Maps as they travel in the payload, and as numbers: mirrors crossviz/render/quantised.py, in double precision.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const UNABLE =
    "This browser can't unpack the maps: it has no DecompressionStream. Open this page with Chrome or Edge 80, Firefox 113, Safari 16.4 or any later one.";
  const BROKEN = "The maps of this page are damaged and can't be unpacked: save or load it again.";

  /** @type {WeakMap<Block, Uint8Array>} */
  const unpacked = new WeakMap(); // block of a payload -> its bytes

  /** @type {(base64: string) => Uint8Array<ArrayBuffer>} */
  function bytesOf(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const binary = atob(base64);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  /** @type {(base64: string) => Promise<Uint8Array>} */
  async function inflate(base64) {
    const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /**
   * Makes a payload's maps readable by `Maps`; once is enough.
   * @param {Pick<Payload, "means" | "maps" | "steps">} payload
   * @returns {Promise<void>} fails with one sentence for the reader
   */
  const unpack = ({ means, maps, steps }) => unpackAll([means, maps, steps?.words, steps?.queries]);

  /**
   * The same of any blocks; those that are not there are passed over.
   * @param {(Block | null | undefined)[]} all
   * @returns {Promise<void>}
   */
  async function unpackAll(all) {
    const blocks = all.filter((block) => block !== null && block !== undefined).filter((block) => !unpacked.has(block));
    if (blocks.length && !window.DecompressionStream) throw new Error(UNABLE);
    await Promise.all(
      blocks.map(async (block) => {
        const bytes = await inflate(block.data).catch(() => {
          throw new Error(BROKEN);
        });
        unpacked.set(block, bytes);
      }),
    );
  }

  /** The maps of one block that was unpacked, by their place in it. */
  class Maps {
    /**
     * @param {Block} block
     * @param {number} gh
     * @param {number} gw
     */
    constructor(block, gh, gw) {
      this.gh = gh;
      this.gw = gw;
      this.size = gh * gw;
      this.count = block.count;
      this.levels = block.levels;
      this.knee = block.knee;
      this.predicted = block.predicted;
      const bytes = /** @type {Uint8Array} */ (unpacked.get(block));
      const head = new DataView(bytes.buffer, bytes.byteOffset, 8 * this.count);
      this._ends = Float64Array.from({ length: 2 * this.count }, (_, i) => head.getFloat32(4 * i, true));
      this._bytes = bytes.subarray(8 * this.count);
    }

    /**
     * Its smallest and its largest value.
     * @param {number} index
     * @returns {[number, number]}
     */
    ends(index) {
      return [this._ends[2 * index], this._ends[2 * index + 1]];
    }

    /**
     * Raw values `gh * gw`.
     * @param {number} index
     * @returns {Float64Array}
     */
    map(index) {
      const [least, most] = this.ends(index);
      const { knee } = this;
      /** @type {(v: number) => number} */
      const along = (v) => (knee === null ? v : Math.sign(v - knee) * Math.sqrt(Math.abs(v - knee)));
      const low = along(least);
      const step = (along(most) - low) / (this.levels - 1);
      // What each level stands for.
      const values = Float64Array.from({ length: this.levels }, (_, level) => {
        const w = low + step * level;
        return Math.min(most, Math.max(least, knee === null ? w : knee + w * Math.abs(w)));
      });
      const levels = this._levels(index);
      const out = new Float64Array(this.size);
      for (let i = 0; i < out.length; i++) out[i] = values[levels[i]];
      return out;
    }

    /**
     * @param {number} index
     * @returns {Uint8Array | Int16Array}
     */
    _levels(index) {
      const sent = this._bytes.subarray(index * this.size, (index + 1) * this.size);
      if (!this.predicted) return sent;
      const { gh, gw } = this;
      const out = new Int16Array(this.size);
      for (let r = 0, at = 0; r < gh; r++) {
        for (let c = 0; c < gw; c++, at++) {
          let expected = 0;
          if (r && c) {
            const [left, above] = [out[at - 1], out[at - gw]];
            const plane = left + above - out[at - gw - 1];
            expected = Math.min(Math.max(left, above), Math.max(Math.min(left, above), plane));
          } else if (r || c) expected = out[r ? at - gw : at - 1];
          out[at] = (sent[at] + expected) % this.levels;
        }
      }
      return out;
    }
  }

  Object.assign(CV, { Maps, unpack, unpackAll });
})();
