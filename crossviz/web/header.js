// Light or dark: Gradio follows the system; this button goes the other way, and the browser remembers it.
const button = element.querySelector(".cv-theme");
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
