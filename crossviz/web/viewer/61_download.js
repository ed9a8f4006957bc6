// The current view as one PNG: photo, heat, outlines, the caption with its shown words, the colour bar, the method.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { figure } = CV;

  /**
   * "crossviz-red-frisbee.png": letters and digits of any script, nothing that a file system could stumble over.
   * @type {(texts: string[]) => string}
   */
  function fileName(texts) {
    const slug = texts
      .join(" ")
      .normalize("NFC")
      .toLowerCase()
      .replace(/[^\p{L}\p{M}\p{N}]+/gu, "-")
      .replace(/^-+|-+$/g, "")
      .slice(0, 60);
    return `crossviz-${slug || "photo"}.png`;
  }

  /**
   * Breaks runs of text into lines no wider than `width`. `runs` [{text, mark}].
   * @type {(ctx: CanvasRenderingContext2D, runs: TextRun[], width: number) => (TextRun & {w: number})[][]}
   */
  function wrap(ctx, runs, width) {
    /** @type {(TextRun & {w: number})[][]} */
    const lines = [[]];
    let used = 0;
    for (const run of runs) {
      for (const piece of run.text.split(/(?<=\s)/)) {
        const w = ctx.measureText(piece).width;
        if (used + w > width && used > 0) {
          lines.push([]);
          used = 0;
        }
        lines[lines.length - 1].push({ ...run, text: piece, w });
        used += w;
      }
    }
    return lines;
  }

  /**
   * The caption as runs, the shown words marked with their colour.
   * @type {(caption: Caption, words: ShownWord[], hues: string[]) => TextRun[]}
   */
  function captionRuns(caption, words, hues) {
    /** @type {TextRun[]} */
    const runs = [];
    const slice = CV.slicer(caption.text);
    let at = 0;
    caption.words.forEach((word, index) => {
      if (word.start > at) runs.push({ text: slice(at, word.start) });
      const shown = words.find((w) => CV.membersOf(w.word).includes(index));
      runs.push({
        text: slice(word.start, word.end),
        mark: shown ? (words.length > 1 ? hues[shown.hue] : "shown") : null,
      });
      at = word.end;
    });
    if (slice(at)) runs.push({ text: slice(at) });
    return runs;
  }

  /**
   * @returns a canvas with the whole picture.
   * @type {(view: View) => HTMLCanvasElement}
   */
  function compose({ payload, field, state, words, stage }) {
    const colours = stage.colours();
    const natural = stage.photo;
    const scale = Math.max(1, 640 / Math.max(natural.naturalWidth, natural.naturalHeight));
    const width = Math.max(1, Math.round(natural.naturalWidth * scale));
    const height = Math.max(1, Math.round(natural.naturalHeight * scale));
    const unit = Math.max(12, Math.round(Math.max(width, 640) / 52)); // text size
    const margin = Math.round(unit * 1.25);
    const full = Math.max(width, 640);

    const canvas = document.createElement("canvas");
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const small = `${Math.round(unit * 0.82)}px ${colours.font}`;
    const large = `600 ${Math.round(unit * 1.25)}px ${colours.font}`;
    ctx.font = large;
    const lines = wrap(ctx, captionRuns(payload.caption, words, colours.hues), full).slice(0, 4);
    ctx.font = small;
    const about = wrap(
      ctx,
      [{ text: `crossviz ${payload.provenance?.crossviz_version ?? ""} · ${payload.model.title} · ${payload.method.title} · ${payload.method.direction}${field.reads ? "" : " · the same map for every word"}` }],
      full,
    );
    const lineHeight = Math.round(unit * 1.9);
    const barHeight = words.length ? Math.round(unit * 3.4) : 0;
    const rowHeight = Math.round(unit * 1.3);
    const text = lines.length * lineHeight;
    canvas.width = full + 2 * margin;
    canvas.height = margin + text + height + Math.round(unit * 0.9) + barHeight + about.length * rowHeight + margin;
    ctx.fillStyle = colours.paper;
    ctx.fillRect(0, 0, canvas.width, canvas.height);

    ctx.textBaseline = "middle";
    ctx.font = large;
    lines.forEach((line, j) => {
      let x = margin;
      const y = margin + j * lineHeight + lineHeight / 2 - unit * 0.3;
      for (const run of line) {
        if (run.mark) {
          ctx.fillStyle = run.mark === "shown" ? colours.ink : run.mark;
          ctx.fillRect(x, y + unit * 0.8, ctx.measureText(run.text.trimEnd()).width, Math.max(2, unit / 5));
        }
        ctx.fillStyle = run.mark || !words.length ? colours.ink : colours.muted;
        ctx.fillText(run.text, x, y);
        x += run.w;
      }
    });

    const left = margin + Math.round((full - width) / 2);
    const top = margin + text;
    const picture = document.createElement("canvas");
    Object.assign(picture, { width, height });
    const pen = /** @type {CanvasRenderingContext2D} */ (picture.getContext("2d"));
    pen.imageSmoothingQuality = "high";
    pen.drawImage(natural, 0, 0, width, height);
    if (words.length) {
      CV.dimPhoto(pen, width, height);
      const heat = document.createElement("canvas");
      Object.assign(heat, { width, height });
      const image = CV.heatFor(payload, field, state, words, colours.hues, { width, height });
      /** @type {CanvasRenderingContext2D} */ (heat.getContext("2d")).putImageData(image, 0, 0);
      pen.drawImage(heat, 0, 0);
    }
    const thin = Math.max(1, Math.min(width, height) / 320);
    CV.inkOn(pen, payload, field, state, words, colours, { width, height, cursor: null, thin });
    ctx.drawImage(picture, left, top);

    let y = top + height + Math.round(unit * 0.9);
    if (words.length) {
      const values = field.values(words[0].word, state.layer, state.head);
      const scaleNow = field.scaleFor(values, state);
      const bar = document.createElement("canvas");
      Object.assign(bar, { width: Math.round(full * 0.6), height: Math.round(unit * 0.8) });
      /** @type {Rgb | null} */
      const rgb = words.length > 1 ? [255, 255, 255] : null;
      CV.paintBar(bar, { cmap: state.cmap, opacity: state.opacity, signed: field.signed, rgb, ground: colours.ground });
      ctx.drawImage(bar, margin, y);
      ctx.font = small;
      ctx.fillStyle = colours.ink;
      for (const tick of CV.barTicks(scaleNow)) {
        const t = field.signed ? (CV.position(tick, scaleNow) + 1) / 2 : CV.position(tick, scaleNow);
        ctx.textAlign = t < 0.02 ? "left" : t > 0.98 ? "right" : "center";
        ctx.fillText(figure(tick), margin + t * bar.width, y + bar.height + unit * 0.75);
      }
      ctx.textAlign = "left";
      ctx.fillText(CV.barLabel(field, state, words.length), margin + bar.width + unit, y + bar.height / 2);
      y += barHeight;
    }
    ctx.font = small;
    ctx.fillStyle = colours.muted;
    about.forEach((line, j) => ctx.fillText(line.map((run) => run.text).join(""), margin, y + j * rowHeight + rowHeight / 2));
    return canvas;
  }

  /**
   * Hands the picture to the browser's download, under a name that says which words it shows.
   * @type {(view: View) => Promise<void>}
   */
  function download(view) {
    const texts = view.words.map(({ word }) => view.field.text(word));
    const canvas = compose(view);
    return new Promise((done) =>
      canvas.toBlob((blob) => {
        const url = URL.createObjectURL(/** @type {Blob} */ (blob));
        const link = CV.el("a", { href: url, download: fileName(texts) });
        link.click();
        setTimeout(() => URL.revokeObjectURL(url), 10_000);
        done();
      }, "image/png"),
    );
  }

  Object.assign(CV, { compose, download, fileName });
})();
