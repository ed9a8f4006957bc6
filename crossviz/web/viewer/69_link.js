// A link that asks the same question again and shows its answer in the same view: all of it in the address's fragment,
// which browsers keep to themselves. The photo is never in it; one of the page's own examples is named.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const MOST_LINK = 16_000;
  const TOO_LONG = "This link is too long to be one of crossviz's: copy it again.";
  const EMPTY = "This link holds no caption: copy it again.";

  /**
   * @param {string} address of the page
   * @param {Link} what
   */
  function linkTo(address, { caption, model, method, example, settings }) {
    const parts = new URLSearchParams({ caption, model, method });
    if (example) parts.set("example", example);
    parts.set("view", JSON.stringify(settings));
    return `${address.split("#")[0]}#${parts}`;
  }

  /**
   * What a fragment asks for; null where it is none of ours.
   * @param {string} fragment as `location.hash`, from anyone
   * @returns {(Link & {wrong?: undefined}) | {wrong: string} | null} `settings` as they come
   *   (null: none that can be read); or what is wrong, a sentence
   */
  function readLink(fragment) {
    const text = fragment.replace(/^#/, "");
    if (!/(^|&)(caption|view)=/.test(text)) return null;
    if (text.length > MOST_LINK) return { wrong: TOO_LONG };
    const parts = new URLSearchParams(text);
    const caption = parts.get("caption") ?? "";
    if (!caption.trim()) return { wrong: EMPTY };
    /** @type {any} */
    let settings = null;
    try {
      settings = JSON.parse(parts.get("view") ?? "null");
    } catch {
      // the rest is good without
    }
    return { caption, model: parts.get("model") ?? "", method: parts.get("method") ?? "", example: parts.get("example") ?? "", settings };
  }

  Object.assign(CV, { linkTo, readLink });
})();
