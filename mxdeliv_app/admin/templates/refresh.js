"use strict";
// The page as it is now, in place of the one that is shown; not while somebody works with it.
(() => {
  const seconds = Number(document.getElementById("main").dataset.refresh);
  if (!seconds) return;
  setInterval(async () => {
    const main = document.getElementById("main");
    if (document.hidden || main.querySelector("details[open]") || main.contains(document.activeElement)) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
      if (fresh && !main.contains(document.activeElement)) main.replaceChildren(...fresh.childNodes);
    } catch {
      // Away for the moment: the page says of when it is.
    }
  }, seconds * 1000);
})();
