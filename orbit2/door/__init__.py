"""The one door for files: whatever opens data (sources, statics, `downscale FILE`, the judge) finds names, axes, units, times and
damage here, by the same rules."""
