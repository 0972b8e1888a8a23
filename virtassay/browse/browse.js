// Choices show at once, and the dose slider follows the links below it. Without this file the button and links do both.
"use strict";
let latest = 0;

async function show(address, part) {
  const number = ++latest;
  let answer;
  try {
    answer = await fetch(address);
  } catch {
    document.getElementById("shown").textContent = "No answer: virtassay browse has ended. Start it again and reload.";
    return;
  }
  if (!answer.ok) part = "shown"; // the form stays, to choose again
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part);
  if (number !== latest || !fresh) return; // a later choice was answered first
  const focused = document.activeElement?.id;
  document.getElementById(part).replaceWith(document.importNode(fresh, true));
  history.replaceState(null, "", address);
  ready();
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function address(form) {
  const fields = [...new FormData(form)].filter(([, value]) => value !== "");
  return `${new URL(form.action || location.href).pathname}?${new URLSearchParams(fields)}`;
}

function ready() {
  document.body.classList.add("live");
  const slider = document.getElementById("slider");
  if (slider) slider.hidden = false;
}

document.addEventListener("input", ({ target }) => {
  if (target.type !== "range") return;
  if (target.id !== "slider") {
    target.nextElementSibling.textContent = target.value;
    show(address(target.form), "shown");
    return;
  }
  const at = document.querySelectorAll("#ladder a")[target.value];
  if (!at) return;
  document.querySelector("form [name=dose]").value = new URL(at.href).searchParams.get("dose") ?? "";
  show(at.href, "shown");
});
document.addEventListener("change", ({ target }) => {
  if (target.form && target.type !== "range") show(address(target.form), target.type === "radio" ? "shown" : "page");
});
document.addEventListener("submit", (event) => {
  event.preventDefault();
  show(address(event.target), "page");
});
ready();
