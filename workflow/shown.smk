# Where the figures and tables of a run's report stand in `snakemake --report`: as in the report itself, told by its own list of contents.
import csv


def shown_as(kind, column):
    """A function of one file (its pattern's wildcard is `name`) that says what the report's list of contents has in `column`."""

    def said(wildcards, output):
        with open(f"{output.tables}/contents.csv", encoding="utf-8", newline="") as listed:
            for row in csv.DictReader(listed):
                if row["name"] == wildcards.name and row["kind"] in (kind, "figure"):
                    return row[column]
        return "Numbers of pictures" if column == "section" else wildcards.name

    return said


def labels_of(kind):
    """Title and caption of a figure or table."""
    title, about = shown_as(kind, "title"), shown_as(kind, "caption")
    return lambda wildcards, output: {
        "run": RUN.label,
        "title": title(wildcards, output),
        "about": about(wildcards, output),
        "file": wildcards.name,
    }
