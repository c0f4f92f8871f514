const images = [...document.querySelectorAll("main figure > img, main .enlarge > img")];
if (images.length && window.HTMLDialogElement) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", "Enlarged figure");
  dialog.innerHTML = '<nav><button type="button" aria-label="Previous figure">\u2190</button>' +
    '<span aria-live="polite"></span><button type="button" aria-label="Next figure">\u2192</button>' +
    '<button type="button" aria-label="Close">\u2715</button></nav><div><img alt=""></div>' +
    '<p class="faint"><span aria-hidden="true"></span> <a>Its report</a></p>';
  document.body.append(dialog);
  const [previous, next, close] = dialog.querySelectorAll("button");
  const [count, large, caption, report] = ["nav span", "img", "p span", "a"].map((name) => dialog.querySelector(name));
  // An image of a sweep's page is a link to its own run page, which also works without scripts.
  const links = images.map((image) => image.closest("a"));
  let current = 0;
  const show = (index) => {
    const wanted = current = (index + images.length) % images.length;
    large.src = images[current].src;
    large.alt = images[current].alt;
    caption.textContent = images[current].alt;
    report.hidden = !links[current];
    if (links[current]) {
      report.href = links[current].href;
      // The page holds a small copy; the whole figure is in the job's folder, unless the page was sent alone.
      const whole = new Image();
      whole.addEventListener("load", () => { if (current === wanted) large.src = whole.src });
      whole.src = links[current].dataset.figure;
    }
    count.textContent = `${current + 1} of ${images.length}`;
  };
  previous.addEventListener("click", () => show(current - 1));
  next.addEventListener("click", () => show(current + 1));
  close.addEventListener("click", () => dialog.close());
  large.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { show(current + step); event.preventDefault() }
  });
  images.forEach((image, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoom";
    button.title = "Enlarge";
    (links[index] ?? image).replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => { show(index); dialog.showModal() });
  });
  dialog.addEventListener("close", () => images[current].parentElement.focus());
}
