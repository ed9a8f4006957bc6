// Light or dark: Gradio follows the system; this button goes the other way, and the browser remembers it.
const button = /** @type {HTMLButtonElement} */ (element.querySelector(".cv-theme"));
const key = "crossviz-theme";
const remembered = () => {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage may be forbidden, as in some frames
  }
};
const show = () => button.setAttribute("aria-pressed", String(document.body.classList.contains("dark")));
if (remembered()) document.body.classList.toggle("dark", remembered() === "dark");
new MutationObserver(show).observe(document.body, { attributes: true, attributeFilter: ["class"] });
show();
button.addEventListener("click", () => {
  const dark = document.body.classList.toggle("dark");
  try {
    localStorage.setItem(key, dark ? "dark" : "light");
  } catch {
    // remembered for this page only
  }
});
// The photo's field takes pictures only and says no more of another file than a note that soon goes away.
/** @type {(event: Event) => void} */
const refuse = (event) => {
  const target = /** @type {Partial<HTMLInputElement>} */ (event.target);
  if (!target.closest?.("#cv-photo")) return;
  const file = (target.files || /** @type {DragEvent} */ (event).dataTransfer?.files || [])[0];
  const said = document.querySelector("#cv-photo-error-text");
  if (!file || !said) return;
  const wrong = `\u201c${file.name}\u201d is no picture: choose a JPEG, PNG, WebP, GIF, BMP or TIFF file.`;
  said.dispatchEvent(new CustomEvent("cv-said", { detail: file.type.startsWith("image/") ? "" : wrong }));
};
for (const kind of ["change", "drop"]) document.addEventListener(kind, refuse, true);
// Explain or Generate: the two halves of the page, one of which is shown. There are no tabs where no model draws.
const tabs = /** @type {NodeListOf<HTMLButtonElement>} */ (element.querySelectorAll(".cv-halves button"));
/** @type {(name: string | undefined) => void} */
const choose = (name) => {
  document.body.dataset.tab = name;
  for (const tab of tabs) {
    if (tab.dataset.tab === name) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
};
for (const tab of tabs) tab.addEventListener("click", () => choose(tab.dataset.tab));
document.addEventListener("cv-tab", (event) => {
  choose(/** @type {CustomEvent<string>} */ (event).detail);
  scrollTo(0, 0);
});
