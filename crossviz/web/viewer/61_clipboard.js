// The clipboard: the picture of the view, or a link, and what to do where the browser has none.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const NO_PICTURE = "This browser lets no page copy a picture here: save it as PNG instead.";

  /**
   * The picture that "Save" would write as PNG, to the clipboard.
   * @param {View} view
   * @returns {Promise<string>} what became of it, a sentence
   */
  async function copyPicture(view) {
    if (!navigator.clipboard?.write || !window.ClipboardItem) return NO_PICTURE;
    const picture = new Promise((done, fail) =>
      CV.compose(view).toBlob((blob) => (blob ? done(blob) : fail(new Error("no picture"))), "image/png"),
    );
    try {
      // A promise inside: Safari takes it only while the click still counts.
      await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
    } catch {
      return NO_PICTURE;
    }
    return "The picture is copied.";
  }

  /**
   * @param {string} text
   * @returns {Promise<boolean>} whether the text is on the clipboard now
   */
  async function copyText(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      return false; // not allowed, or no clipboard at all
    }
    return true;
  }

  Object.assign(CV, { copyPicture, copyText });
})();
