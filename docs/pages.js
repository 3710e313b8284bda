// Tables that are wider than the screen scroll: by keyboard too, and with a cue at their edge.
"use strict";
(() => {
  const fit = (box) => {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("wide", wide);
    if (wide) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  const resized = new ResizeObserver((entries) => entries.forEach((entry) => fit(entry.target)));
  const watch = () => document.querySelectorAll(".md-typeset__scrollwrap").forEach((box) => resized.observe(box));
  // The theme wraps tables once the page is there.
  new MutationObserver(watch).observe(document.body, { childList: true, subtree: true });
  watch();
})();
