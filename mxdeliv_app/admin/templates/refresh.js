"use strict";
// Replaces the page's content by a new copy at intervals, except while the user works with it.
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
      // The server does not answer now. The page shows the time of its data.
    }
  }, seconds * 1000);
})();
