"""A report's figures as lines of text, for the command line."""

from crossviz.trust.report import TrustReport

__all__ = ["lines"]

_HEADS = 3


def lines(report: TrustReport) -> list[str]:
    """The sentence, and under it a line for each check that was made and each note."""
    found = [report.sentence]
    if (c := report.calibration) is not None:
        found.append(
            f"  random words     {c.share_beyond:.1%} of patches beyond p < .05 ({c.expected:.1%} by chance, "
            f"p = {c.p_share:.3f}); highest patch p = {c.p_peak:.3f}"
        )
    if (d := report.deletion) is not None:
        for way in ("deletion", "insertion"):
            areas = ", ".join(f"{order} {d.area(way, order):.3f}" for order in ("map", "random", "centre"))
            found.append(f"  {way:<15}  area {areas} ({d.unit})")
    if (r := report.randomisation) is not None:
        found.append(
            f"  random weights   rank correlation {r.last:+.2f} when {r.shares[-1]:.0%} are random "
            f"({len(r.labels) - 1} stages)"
        )
    if (a := report.agreement) is not None:
        pairs = zip(a.methods[1:], a.correlations[0, 1:].tolist(), a.agrees, strict=True)
        each = ", ".join(f"{name} {value:+.2f}{'' if agrees else ' (no)'}" for name, value, agrees in pairs)
        found.append(f"  other methods    {each}")
    if (h := report.head_effect) is not None:
        each = ", ".join(f"{head.layer} head {head.head} {head.effect:+.4f}" for head in h.heads[:_HEADS])
        found.append(f"  heads            {each}; all off {h.all_off:.3f}, whole {h.whole:.3f} ({h.unit})")
    if (b := report.localisation) is not None:
        found.append(
            f"  box              mass {b.mass:.1%}, pointing {'hit' if b.pointing else 'miss'}, IoU {b.iou:.2f}; "
            f"{b.area:.1%} by chance"
        )
    return found + [f"  note             {note}" for note in report.notes]
