"""Find images that are flipped or turned copies of others beyond chance.

Two images are twins where one of them, carried through one of the eight symmetries of the square and rolled by any
cyclic shift, correlates with the other more than images of their spectra do by chance. Filter images are textures: what
they look like, and how well any two of them can be brought into line, is first a matter of their power spectrum. The
chance level is therefore that of surrogates with the same spectrum and random phases (Theiler et al. 1992, Physica D
58:77; several channels share their phases, so that colours stay together: Prichard and Theiler 1994, PRL 73:951).
Images with shuffled pixels would be white noise, which correlates with nothing, and any two smooth images would pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from fervis.errors import ConfigError


def symmetric_pairs_of(images: Tensor) -> SymmetricPairs:
    """Compare images with surrogates drawn from a fixed seed, so that the same images give the same result."""
    return find_symmetric_pairs(images, Generator().manual_seed(0))


SYMMETRIES = (
    "identity",
    "turn 90",
    "turn 180",
    "turn 270",
    "flip left-right",
    "flip upside-down",
    "flip on the diagonal",
    "flip on the antidiagonal",
)
"""The symmetries of the square by number; turns are counter-clockwise, and the diagonal begins at the upper left."""

SIGNIFICANCE = 0.95
# Each symmetry: whether to transpose, then whether to turn the rows' order round, then the columns'.
_STEPS = ((0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1))
_INVERSE = (0, 3, 2, 1, 4, 5, 6, 7)
# Bytes of correlations at once: what a processor's cache holds; a larger chunk takes twice the time.
_PAIRS_PER_CHUNK = 2**19
# Correlations that differ by less are equal, and the simpler symmetry and the smaller shift are taken.
_IDENTICAL = 1e-9


@dataclass(frozen=True)
class SymmetricPairs:
    """The alignment of each two of N images.

    Attributes:
        correlation: [N,N] float64, the highest Pearson correlation of two images over symmetries and shifts; nan on the
            diagonal, and 0 for an image of one value.
        symmetry: [N,N] int64, the number in ``SYMMETRIES`` of the symmetry that gives it.
        shift: [N,N,2] int64, rows and columns to roll by, from 0: ``apply_symmetry(images[j], symmetry[i,j],
            shift[i,j])`` has the correlation ``correlation[i,j]`` with image i.
        null: [S,N] float64, each image's best correlation in each of S sets of phase-randomised images.
        baseline: [N] float64, the 95th percentile of each image's best correlation by chance.
        size: height and width of the images in pixels.
    """

    correlation: Tensor
    symmetry: Tensor
    shift: Tensor
    null: Tensor
    baseline: Tensor
    size: tuple[int, int]

    def rows(self) -> dict[str, tuple[Tensor, ...]]:
        """Return what is known of each image, as a result with one item per image holds it; see ``of_rows``."""
        columns = {
            "correlation": self.correlation,
            "symmetry": self.symmetry,
            "shift": self.shift,
            "null": self.null.T,
            "baseline": self.baseline,
        }
        return {name: tuple(row.clone() for row in values) for name, values in columns.items()}

    @classmethod
    def of_rows(cls, rows: Mapping[str, Sequence[Tensor]], size: tuple[int, int]) -> SymmetricPairs:
        """Return the comparison whose ``rows`` these are, of images of this height and width."""
        columns = {name: torch.stack(list(values)) for name, values in rows.items()}
        return cls(**columns | {"null": columns["null"].T}, size=size)

    @property
    def best(self) -> Tensor:
        """[N] float64, each image's highest correlation with another."""
        return self.correlation.nan_to_num(-2).amax(1)

    @property
    def twin(self) -> Tensor:
        """[N] int64, the image that each one correlates with most."""
        return self.correlation.nan_to_num(-2).argmax(1)

    @property
    def how(self) -> Tensor:
        """[N] int64, the symmetry that aligns ``twin`` with each image."""
        return self.symmetry.gather(1, self.twin[:, None])[:, 0]

    @property
    def found(self) -> Tensor:
        """[N] bool, which images have a twin: a best correlation above their baseline."""
        return self.best > self.baseline + _IDENTICAL

    def numbers(self) -> dict[str, float]:
        """Return how many images have a twin, as it is and flipped or turned, and how similar the images are."""
        found, as_is = self.found, self.how == 0
        return {
            "twins": float(found.sum()),
            "twins/as_is": float((found & as_is).sum()),
            "twins/flipped_or_turned": float((found & ~as_is).sum()),
            "twins/share": float(found.double().mean()),
            "twins/best_correlation": float(self.best.median()),
            "twins/baseline": float(self.baseline.median()),
            "twins/strongest": float(self.best.max()),
        }

    def sentence(self, names: Sequence[str] | None = None) -> str:
        """Summarise the comparison for a report; ``names`` are those of the images, by default their numbers."""
        numbers, count = self.numbers(), len(self.best)
        one = int(self.best.argmax())
        other = int(self.twin[one])
        pair = sorted((one, other))
        first, second = (names[index] if names else str(index) for index in pair)
        return (
            f"{numbers['twins']:.0f} of {count} images have a twin beyond chance "
            f"(by chance {(1 - SIGNIFICANCE) * count:.1f} "
            f"would), {numbers['twins/as_is']:.0f} as it is and {numbers['twins/flipped_or_turned']:.0f} flipped or "
            f"turned, each at its best shift; the median of the best correlations is "
            f"{numbers['twins/best_correlation']:.2f}, that of their chance levels {numbers['twins/baseline']:.2f} "
            f"(95th percentile of images with the same spectrum and random phases). The closest are {first} and "
            f"{second}, {numbers['twins/strongest']:.2f} ({self.move(pair[0], pair[1])})."
        )

    def move(self, one: int, other: int) -> str:
        """Describe how image ``other`` is aligned with ``one``: ``turn 90, 3 down, 5 left``, by the shortest way."""
        rows, columns = (
            (int(by) + side // 2) % side - side // 2 for by, side in zip(self.shift[one, other], self.size, strict=True)
        )
        ways = [f"{abs(by)} {way[by > 0]}" for by, way in ((rows, ("up", "down")), (columns, ("left", "right"))) if by]
        return ", ".join([SYMMETRIES[int(self.symmetry[one, other])], *ways])


def find_symmetric_pairs(images: Tensor, generator: Generator, shuffles: int = 20) -> SymmetricPairs:
    """Compare each two images over the symmetries of the square and all cyclic shifts, and with chance.

    All shifts of a pair are compared at once: the circular cross-correlation of two images, each without its mean and
    with norm 1, is the inverse Fourier transform of the product of their spectra, and its value at a shift is Pearson's
    correlation there. Images that are not square are compared over the four symmetries of a rectangle.

    The chance level of an image is that of its own spectrum: in each of ``shuffles`` sets all images get random phases
    and are compared as the images are. Since so few sets say little of a 95th percentile, the values (Fisher's z) are
    brought to one scale first: each is counted from the mean of the image's others in their standard deviations. The
    95th percentile of all images' values, so counted, is the level of each above its own mean.

    Time grows with N² and with ``shuffles``: on one core of an EPYC, 64 grey images of 48 x 48 take 7 s, 16 half a
    second. Memory is that of the images and a few of their spectra.

    Args:
        images: [N,C,H,W] float, N from 2, any scale.
        generator: on the CPU; of the random phases.
        shuffles: sets of phase-randomised images, from 5.

    Raises:
        ConfigError: other shapes, values that are not finite, fewer than 2 images or than 5 shuffles.
    """
    if images.ndim != 4 or len(images) < 2:
        raise ConfigError(f"images={list(images.shape)}: expected [N,C,H,W] with at least 2 images to compare.")
    if shuffles < 5:
        raise ConfigError(f"shuffles={shuffles}: expected 5 sets of phase-randomised images or more.")
    if not images.isfinite().all():
        raise ConfigError("images: some values are not finite, so they have no correlation.")
    images = images.detach().cpu().double()
    correlation, symmetry, shift = _correlate_pairs(images)
    null = torch.stack([_best_shift(phase_randomised(images, generator)) for _ in range(shuffles)])
    return SymmetricPairs(correlation, symmetry, shift, null, _null_level(null), (images.shape[2], images.shape[3]))


def phase_randomised(images: Tensor, generator: Generator) -> Tensor:
    """Draw images with the same power spectra and random phases: textures of the same kind with nothing in common.

    The phases are those of white noise, so that the result is real. All channels of an image get the same, which keeps
    the spectra between them too; the mean is kept.

    Args:
        images: [N,C,H,W] float64.
        generator: on the CPU.

    Returns:
        [N,C,H,W] float64.
    """
    count, _, height, width = images.shape
    noise = torch.randn(count, 1, height, width, generator=generator, dtype=torch.float64)
    phases = torch.fft.rfft2(noise)
    phases = phases / phases.abs()
    phases[..., 0, 0] = 1
    return torch.fft.irfft2(torch.fft.rfft2(images) * phases, s=(height, width))


def apply_symmetry(images: Tensor, symmetry: int, shift: Sequence[int] | Tensor = (0, 0)) -> Tensor:
    """Apply a symmetry of ``SYMMETRIES`` to images [...,H,W], then roll them by rows and columns."""
    transpose, rows, columns = _STEPS[symmetry]
    images = images.transpose(-2, -1) if transpose else images
    images = images.flip([axis for axis, wanted in ((-2, rows), (-1, columns)) if wanted])
    return images.roll([int(by) for by in shift], (-2, -1))


def _correlate_pairs(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``correlation``, ``symmetry`` and ``shift`` of ``SymmetricPairs``."""
    count, size = len(images), (images.shape[2], images.shape[3])
    correlation = torch.full((count, count), -2.0, dtype=torch.float64)
    symmetry = torch.zeros(count, count, dtype=torch.int64)
    position = torch.zeros(count, count, dtype=torch.int64)
    for number, one, others, values in _correlations(images):
        peaks = values.amax(1)
        # The first of equal peaks, independent of rounding: a periodic image has many.
        first = (values >= peaks[:, None] - _IDENTICAL).to(torch.uint8).argmax(1)
        better = peaks > correlation[one, others] + _IDENTICAL
        correlation[one, others] = torch.where(better, peaks, correlation[one, others])
        symmetry[one, others] = torch.where(better, number, symmetry[one, others])
        position[one, others] = torch.where(better, first, position[one, others])
    shift = torch.stack([position // size[1], position % size[1]], -1)
    for one in range(count):
        for other in range(one + 1, count):
            back = _INVERSE[int(symmetry[one, other])]
            correlation[other, one] = correlation[one, other]
            symmetry[other, one] = back
            shift[other, one] = _shift_back(shift[one, other], back, size)
    return correlation.clamp(-1, 1).fill_diagonal_(math.nan), symmetry, shift


def _shift_back(shift: Tensor, back: int, size: tuple[int, int]) -> Tensor:
    """Return the shift after the symmetry ``back`` that undoes ``shift`` after the symmetry that ``back`` undoes."""
    transpose, rows, columns = _STEPS[back]
    by = -shift.flip(0) if transpose else -shift
    return (by * torch.tensor([1 - 2 * rows, 1 - 2 * columns])) % torch.tensor(size)


def _best_shift(images: Tensor) -> Tensor:
    """Return the highest correlation of each image with another, [N]."""
    best = torch.full((len(images),), -1.0, dtype=torch.float64)
    for _, one, others, values in _correlations(images):
        peaks = values.amax(1)
        best[others] = best[others].maximum(peaks)
        best[one] = best[one].maximum(peaks.max())
    return best.clamp(max=1)


def _correlations(images: Tensor) -> Iterator[tuple[int, int, slice, Tensor]]:
    """Yield correlations at all shifts: number of a symmetry, an image, images after it, and [n,H*W] values.

    Rolling image b by s gives b(x - s), so that the correlation of a with it is c(s) = sum_x a(x) b(x - s), all images
    having mean 0 and norm 1. Its Fourier transform over s is sum_x a(x) e^(-ifx) sum_y b(y) e^(ify) = A(f) conj(B(f)),
    with y = x - s and b real: one inverse transform gives the correlations at all H*W cyclic shifts. The transform is
    linear, so that products are summed over channels first. A symmetry is applied to b before it is transformed.
    """
    count, channels, height, width = images.shape
    spectra = torch.fft.rfft2(_standardised(images))
    size = max(1, _PAIRS_PER_CHUNK // (16 * channels * height * width))
    for number, (transpose, _, _) in enumerate(_STEPS):
        if transpose and height != width:
            continue
        carried = torch.fft.rfft2(_standardised(apply_symmetry(images, number))).conj().resolve_conj()
        for one in range(count - 1):
            for start in range(one + 1, count, size):
                others = slice(start, min(start + size, count))
                product = (spectra[one] * carried[others]).sum(1) if channels > 1 else spectra[one] * carried[others, 0]
                yield number, one, others, torch.fft.irfft2(product, s=(height, width)).flatten(1)


def _standardised(images: Tensor) -> Tensor:
    """Subtract each image's mean and divide by its norm; 0 where it has one value only."""
    centred = images - images.mean((1, 2, 3), keepdim=True)
    norms = centred.square().sum((1, 2, 3), keepdim=True).sqrt()
    flat = norms <= 1e-12 * images.abs().amax((1, 2, 3), keepdim=True) * math.sqrt(images[0].numel())
    return torch.where(flat, 0.0, centred / torch.where(flat, 1.0, norms))


def _null_level(null: Tensor) -> Tensor:
    """Estimate the 95th percentile of each image's best correlation by chance, [N], from [S,N]."""
    values = null.clamp(-1 + _IDENTICAL, 1 - _IDENTICAL).atanh()
    others = len(values) - 1
    means = (values.sum(0) - values) / others
    squares = (values.square().sum(0) - values.square()) / others - means.square()
    spreads = (squares.clamp_min(0) * others / (others - 1)).sqrt().clamp_min(_IDENTICAL)
    beyond = ((values - means) / spreads).flatten().quantile(SIGNIFICANCE)
    return (values.mean(0) + beyond * values.std(0)).tanh()
