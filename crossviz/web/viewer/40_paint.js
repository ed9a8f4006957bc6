// Pixels: the heat of one word or of several, the outlines over it, the region the model did not see, the colour bar.
// The heat is the arithmetic at the top of crossviz/render/overlay.py; a browser test compares the two byte by byte.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  /**
   * Grid coordinate of each display column and row, and which of them the model saw.
   * @param {Payload} payload
   * @param {number} width
   * @param {number} height
   */
  function displayAxes(payload, width, height) {
    const [x0, y0, x1, y1] = payload.view.crop_xyxy;
    /** @type {(n: number, source: number, start: number, end: number, cells: number) => {coords: Float64Array, first: number, stop: number}} */
    const axis = (n, source, start, end, cells) => {
      const coords = new Float64Array(n);
      let first = n;
      let stop = 0;
      for (let i = 0; i < n; i++) {
        coords[i] = ((((i + 0.5) * source) / n - start) / (end - start)) * cells;
        if (coords[i] >= 0 && coords[i] < cells) {
          first = Math.min(first, i);
          stop = i + 1;
        }
      }
      return { coords, first: Math.min(first, stop), stop };
    };
    return {
      x: axis(width, payload.photo.width, x0, x1, payload.grid.width),
      y: axis(height, payload.photo.height, y0, y1, payload.grid.height),
    };
  }

  /**
   * Calls draw(start, row, first, stop) for every row of display pixels that the model saw any of: `row` holds its
   * values from `first` to before `stop`, `start` is where it begins in the picture.
   * @param {Float64Array} values
   * @param {Pick<Field, "gh" | "gw">} field
   * @param {ReturnType<typeof displayAxes>} axes
   * @param {number} width
   * @param {boolean} smooth
   * @param {(start: number, row: Float64Array, first: number, stop: number) => void} draw
   */
  function eachRow(values, field, axes, width, smooth, draw) {
    const { gh, gw } = field;
    const { x, y } = axes;
    const row = new Float64Array(width);
    if (!smooth) {
      for (let j = y.first; j < y.stop; j++) {
        const from = Math.floor(y.coords[j]) * gw;
        for (let i = x.first; i < x.stop; i++) row[i] = values[from + Math.floor(x.coords[i])];
        draw(j * width, row, x.first, x.stop);
      }
      return;
    }
    const across = CV.sampleAxis(x.coords, gw);
    const down = CV.sampleAxis(y.coords, gh);
    const rows = new Float64Array(gh * width);
    for (let r = 0; r < gh; r++) {
      for (let i = x.first; i < x.stop; i++) {
        const w = across.weight[i];
        rows[r * width + i] = values[r * gw + across.low[i]] * (1 - w) + values[r * gw + across.high[i]] * w;
      }
    }
    for (let j = y.first; j < y.stop; j++) {
      const top = down.low[j] * width;
      const bottom = down.high[j] * width;
      const w = down.weight[j];
      for (let i = x.first; i < x.stop; i++) row[i] = rows[top + i] * (1 - w) + rows[bottom + i] * w;
      draw(j * width, row, x.first, x.stop);
    }
  }

  /**
   * Raw value -> entry of the colour table.
   * @type {(factor: number, scale: Scale) => (value: number) => number}
   */
  function indexer(factor, scale) {
    if (scale.signed) return (v) => Math.floor(128 + 127 * Math.min(1, Math.max(-1, (v * factor) / scale.vmax)) + 0.5);
    const { vmin } = scale;
    const span = scale.vmax - vmin;
    return (v) => {
      const t = (v * factor - vmin) / span;
      return t <= 0 ? 0 : t >= 1 ? 255 : Math.floor(255 * Math.sqrt(t) + 0.5);
    };
  }

  /**
   * The heat of one word: ImageData of width x height, straight alpha, (0, 0, 0, 0) where the model did not look.
   * @type {(payload: Payload, field: Field, values: Float64Array, scale: Scale, options: HeatOptions) => ImageData}
   */
  function heatOne(payload, field, values, scale, { width, height, smooth, opacity, cmap }) {
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const table = CV.packedTable(cmap, opacity, scale.signed);
    const index = indexer(field.factor, scale);
    const axes = displayAxes(payload, width, height);
    eachRow(values, field, axes, width, smooth, (start, row, first, stop) => {
      for (let i = first; i < stop; i++) pixels[start + i] = table[index(row[i])];
    });
    return image;
  }

  /** @type {(byte: number) => number} */
  const linear = (byte) => (byte <= 10.31475 ? byte / 3294.6 : ((byte / 255 + 0.055) / 1.055) ** 2.4);
  const TO_SRGB = Uint8Array.from({ length: 4097 }, (_, i) => {
    const c = i / 4096;
    return Math.round(255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055));
  });

  /**
   * Several words, one hue each, added up as light: where two look at the same place the hues add in linear light and
   * the place gets brighter, never muddier.
   * @param {Payload} payload
   * @param {Field} field
   * @param {{values: Float64Array, scale: Scale, rgb: Rgb}[]} layers
   * @param {Size & {smooth: boolean, opacity: number}} options
   */
  function heatMany(payload, field, layers, { width, height, smooth, opacity }) {
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const n = width * height;
    const light = new Float32Array(3 * n);
    const clear = new Float32Array(n).fill(1);
    const axes = displayAxes(payload, width, height);
    for (const { values, scale, rgb } of layers) {
      const alpha = Float32Array.from(CV.alphaTable(opacity, scale.signed), (a) => a / 255);
      if (scale.signed) alpha.fill(0, 0, 128); // only what speaks for the word can be added up
      const index = indexer(field.factor, scale);
      const [r, g, b] = rgb.map(linear);
      eachRow(values, field, axes, width, smooth, (start, row, first, stop) => {
        for (let i = first; i < stop; i++) {
          const a = alpha[index(row[i])];
          if (a === 0) continue;
          const at = start + i;
          clear[at] *= 1 - a;
          light[3 * at] += a * r;
          light[3 * at + 1] += a * g;
          light[3 * at + 2] += a * b;
        }
      });
    }
    /** @type {(c: number) => number} */
    const srgb = (c) => TO_SRGB[Math.min(4096, Math.round(4096 * c))];
    for (let at = 0; at < n; at++) {
      const a = 1 - clear[at];
      if (a === 0) continue;
      const [r, g, b] = [light[3 * at] / a, light[3 * at + 1] / a, light[3 * at + 2] / a];
      pixels[at] = ((Math.round(255 * a) << 24) | (srgb(b) << 16) | (srgb(g) << 8) | srgb(r)) >>> 0;
    }
    return image;
  }

  /**
   * Grid coordinates -> display coordinates, as two affine functions.
   * @type {(payload: Payload, width: number, height: number) => ToDisplay}
   */
  function gridToDisplay(payload, width, height) {
    const [x0, y0, x1, y1] = payload.view.crop_xyxy;
    const sx = width / payload.photo.width;
    const sy = height / payload.photo.height;
    return {
      x: (g) => (x0 + (g / payload.grid.width) * (x1 - x0)) * sx,
      y: (g) => (y0 + (g / payload.grid.height) * (y1 - y0)) * sy,
    };
  }

  /**
   * Thin lines with a dark halo, readable on any heat. `segments` in grid coordinates.
   * @type {(ctx: CanvasRenderingContext2D, segments: number[], to: ToDisplay, colours: LineColours, thin: number) => void}
   */
  function strokeOutline(ctx, segments, to, colours, thin) {
    if (!segments.length) return;
    const path = new Path2D();
    for (const line of CV.linesOf(segments)) {
      path.moveTo(to.x(line[0]), to.y(line[1]));
      for (let i = 2; i < line.length; i += 2) path.lineTo(to.x(line[i]), to.y(line[i + 1]));
    }
    ctx.lineCap = "round";
    ctx.lineJoin = "round";
    for (const [colour, width] of /** @type {[string, number][]} */ ([[colours.halo, 2.6 * thin], [colours.line, thin]])) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = width;
      ctx.stroke(path);
    }
  }

  /**
   * One patch, outlined.
   * @type {(ctx: CanvasRenderingContext2D, row: number, col: number, to: ToDisplay, colours: LineColours, thin: number) => void}
   */
  function strokePatch(ctx, row, col, to, colours, thin) {
    const [x, y] = [to.x(col), to.y(row)];
    const [w, h] = [to.x(col + 1) - x, to.y(row + 1) - y];
    ctx.lineJoin = "miter";
    for (const [colour, width] of /** @type {[string, number][]} */ ([[colours.halo, 4 * thin], [colours.line, 1.8 * thin]])) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = width;
      ctx.strokeRect(x, y, w, h);
    }
  }

  /**
   * Darkens and hatches what the model did not see (a crop cut it off).
   * @type {(ctx: CanvasRenderingContext2D, payload: Payload, width: number, height: number, colours: Palette) => void}
   */
  function hatchUnseen(ctx, payload, width, height, colours) {
    const to = gridToDisplay(payload, width, height);
    /** @type {(v: number, top: number) => number} */
    const clamp = (v, top) => Math.min(top, Math.max(0, v));
    const [l, r] = [clamp(to.x(0), width), clamp(to.x(payload.grid.width), width)];
    const [t, b] = [clamp(to.y(0), height), clamp(to.y(payload.grid.height), height)];
    const boxes = [[0, 0, width, t], [0, b, width, height], [0, t, l, b], [r, t, width, b]];
    const period = Math.max(6, Math.min(width, height) / 28);
    for (const [left, top, right, bottom] of boxes) {
      if (right - left < 0.5 || bottom - top < 0.5) continue;
      ctx.save();
      ctx.beginPath();
      ctx.rect(left, top, right - left, bottom - top);
      ctx.clip();
      ctx.fillStyle = colours.unseen;
      ctx.fillRect(left, top, right - left, bottom - top);
      ctx.strokeStyle = colours.hatch;
      ctx.lineWidth = Math.max(1, period / 7);
      ctx.beginPath();
      for (let c = 0; c < width + height; c += period) {
        ctx.moveTo(c, 0);
        ctx.lineTo(c - height, height);
      }
      ctx.stroke();
      ctx.restore();
    }
  }

  /**
   * The permanent stripe on pictures of weights that were not trained.
   * @type {(ctx: CanvasRenderingContext2D, width: number, height: number, colours: Palette) => void}
   */
  function strokeUntrained(ctx, width, height, colours) {
    const thick = Math.max(3, Math.min(Math.sqrt(width * height) * 0.085, Math.max(Math.min(width, height) * 0.3, 10)));
    const length = Math.hypot(width, height);
    ctx.save();
    ctx.translate(width / 2, height / 2);
    ctx.rotate(-Math.atan2(height, width));
    ctx.fillStyle = colours.stripe;
    ctx.fillRect(-length / 2, -thick / 2, length, thick);
    if (thick * 0.58 >= 6) {
      ctx.fillStyle = colours.stripeInk;
      ctx.font = `700 ${Math.round(thick * 0.58)}px ${colours.font}`;
      ctx.textBaseline = "middle";
      ctx.textAlign = "left";
      const text = "untrained weights  ·  ";
      const advance = Math.max(1, ctx.measureText(text).width);
      const copies = Math.floor(length / advance) + 2;
      for (let i = 0; i < copies; i++) ctx.fillText(text, (i - copies / 2) * advance, 0);
    }
    ctx.restore();
  }

  /**
   * The photo as it lies under the heat: CSS grayscale(1) brightness(0.7), computed for the download.
   * @type {(ctx: CanvasRenderingContext2D, width: number, height: number) => void}
   */
  function dimPhoto(ctx, width, height) {
    const image = ctx.getImageData(0, 0, width, height);
    const d = image.data;
    for (let i = 0; i < d.length; i += 4) {
      const grey = 0.7 * (0.2126 * d[i] + 0.7152 * d[i + 1] + 0.0722 * d[i + 2]);
      d[i] = d[i + 1] = d[i + 2] = grey;
    }
    ctx.putImageData(image, 0, 0);
  }

  /**
   * The colour bar as the heat looks over a dim photo: position t runs along the canvas.
   * @type {(canvas: HTMLCanvasElement, look: {cmap: string, opacity: number, signed: boolean, rgb: Rgb | null, ground: Rgb}) => void}
   */
  function paintBar(canvas, { cmap, opacity, signed, rgb, ground }) {
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const { width, height } = canvas;
    const image = ctx.createImageData(width, height);
    const alpha = CV.alphaTable(opacity, signed);
    const table = CV.rgbTable(cmap);
    for (let i = 0; i < width; i++) {
      const u = (i + 0.5) / width;
      const index = signed ? Math.floor(128 + 127 * (2 * u - 1) + 0.5) : Math.floor(255 * u + 0.5);
      const a = alpha[index] / 255;
      const colour = rgb || [table[3 * index], table[3 * index + 1], table[3 * index + 2]];
      for (let j = 0; j < height; j++) {
        const at = 4 * (j * width + i);
        for (let k = 0; k < 3; k++) image.data[at + k] = Math.round(ground[k] * (1 - a) + colour[k] * a);
        image.data[at + 3] = 255;
      }
    }
    ctx.putImageData(image, 0, 0);
  }

  /**
   * Ticks of the colour bar as displayed values: both ends, and round numbers that lie well apart between them.
   * @type {(scale: Scale, most?: number) => number[]}
   */
  function barTicks(scale, most = 6) {
    if (scale.signed) return [-scale.vmax, -scale.vmax / 2, 0, scale.vmax / 2, scale.vmax];
    const { vmin, vmax } = scale;
    const exponent = Math.floor(Math.log10(vmax - vmin));
    const ticks = [vmin, vmax];
    for (let e = exponent; e >= exponent - 2; e--) {
      for (const m of [5, 2, 1]) {
        const value = m * 10 ** e;
        if (value <= vmin || value >= vmax || ticks.length >= most) continue;
        const t = CV.position(value, scale);
        if (ticks.every((tick) => Math.abs(t - CV.position(tick, scale)) > 0.13)) ticks.push(value);
      }
    }
    return ticks.sort((a, b) => a - b);
  }

  Object.assign(CV, {
    displayAxes,
    eachRow,
    indexer,
    heatOne,
    heatMany,
    gridToDisplay,
    strokeOutline,
    strokePatch,
    hatchUnseen,
    strokeUntrained,
    dimPhoto,
    paintBar,
    barTicks,
  });
})();
