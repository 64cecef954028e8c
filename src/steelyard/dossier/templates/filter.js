"use strict";
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const flips = [...document.querySelectorAll(".flip")];
  const status = document.getElementById("shown");
  const { pair, kind, outcome, words } = form.elements;
  const texts = new Map(flips.map((flip) => [flip, flip.textContent.toLowerCase()]));
  const score = (flip, arm) => Number(flip.getAttribute(`data-score-${arm}`));

  function fits(flip, first, second) {
    if (kind.value && flip.dataset.kind !== kind.value) return false;
    if (words.value && !texts.get(flip).includes(words.value.toLowerCase())) return false;
    if (!first) return true;
    const difference = score(flip, first) - score(flip, second);
    if (outcome.value === "win") return difference > 0;
    if (outcome.value === "loss") return difference < 0;
    return difference !== 0;
  }

  function show() {
    const [first, second] = pair.value ? pair.value.split("/") : [null, null];
    outcome.disabled = !first;
    outcome.options[1].textContent = first ? `${first} better` : "first better";
    outcome.options[2].textContent = first ? `${second} better` : "second better";
    let count = 0;
    for (const flip of flips) {
      const isShown = fits(flip, first, second);
      flip.hidden = !isShown;
      count += isShown;
      for (const cell of flip.querySelectorAll("[data-arm]")) {
        cell.hidden = Boolean(first) && cell.dataset.arm !== first && cell.dataset.arm !== second;
      }
      for (const row of flip.querySelectorAll("[data-arms]")) {
        row.hidden = Boolean(first) && !row.dataset.arms.split(" ").some((arm) => arm === first || arm === second);
      }
    }
    form.parentElement.classList.toggle("paired", Boolean(first));
    status.textContent = `Showing ${count} of ${flips.length} cases.`;
  }

  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  pair.value = form.dataset.first;
  show();
  const folded = () => [...document.querySelectorAll("details:not([open])")];
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = folded();
    for (const item of opened) item.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const item of opened) item.open = false;
  });
})();
