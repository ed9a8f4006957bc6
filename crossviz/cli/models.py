"""`crossviz models`: the families, their models, the methods and the generators, with what is missing."""

import argparse

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Print four lists."""
    import crossviz
    from crossviz.models import families

    print("Families:")
    width = max(map(len, families()))
    for name, family in families().items():
        infos = family.infos(False)
        here = [info for info in infos if info.available]
        count = f"{len(here)} of {len(infos)} listed here" if len(infos) != 1 else "here" if here else "not here"
        missing = dict.fromkeys(info.reason[:1].upper() + info.reason[1:] for info in infos if not info.available)
        print(" ".join([f"  {name:<{width}}  {count}.", *missing]))
    lists = (("Models", crossviz.models()), ("Methods", crossviz.methods()), ("Generators", crossviz.generators()))
    for title, entries in lists:
        print(f"{title}:")
        width = max(len(entry.name) for entry in entries)
        for entry in entries:
            missing = "" if getattr(entry, "available", True) else f" Not available here: {entry.reason}"
            families_of = f" For {entry.families}." if hasattr(entry, "families") else ""
            print(f"  {entry.name:<{width}}  {entry.sentence}{families_of}{missing}")
    return 0
