const pictures = [...document.querySelectorAll("main figure > img, main .enlarge > img")];
if (pictures.length && window.HTMLDialogElement) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", "Enlarged figure");
  dialog.innerHTML = '<nav><button type="button" aria-label="Previous figure">\u2190</button>' +
    '<span aria-live="polite"></span><button type="button" aria-label="Next figure">\u2192</button>' +
    '<button type="button" aria-label="Close">\u2715</button></nav><div><img alt=""></div>' +
    '<p class="faint"><span aria-hidden="true"></span> <a>Its report</a></p>';
  document.body.append(dialog);
  const [back, on, close] = dialog.querySelectorAll("button");
  const [count, large, words, report] = ["nav span", "img", "p span", "a"].map((name) => dialog.querySelector(name));
  // A picture that stands for an answer of its own is a link to it without scripts.
  const links = pictures.map((picture) => picture.closest("a"));
  let shown = 0;
  const show = (asked) => {
    const place = shown = (asked + pictures.length) % pictures.length;
    large.src = pictures[shown].src;
    large.alt = pictures[shown].alt;
    words.textContent = pictures[shown].alt;
    report.hidden = !links[shown];
    if (links[shown]) {
      report.href = links[shown].href;
      // The page holds a small copy; the whole figure lies beside the page, unless the page was sent alone.
      const whole = new Image();
      whole.addEventListener("load", () => { if (shown === place) large.src = whole.src });
      whole.src = links[shown].dataset.figure;
    }
    count.textContent = `${shown + 1} of ${pictures.length}`;
  };
  back.addEventListener("click", () => show(shown - 1));
  on.addEventListener("click", () => show(shown + 1));
  close.addEventListener("click", () => dialog.close());
  large.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { show(shown + step); event.preventDefault() }
  });
  pictures.forEach((picture, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoom";
    button.title = "Enlarge";
    (links[place] ?? picture).replaceWith(button);
    button.append(picture);
    button.addEventListener("click", () => { show(place); dialog.showModal() });
  });
  dialog.addEventListener("close", () => pictures[shown].parentElement.focus());
}
