"""Weakly supervised defect localization by an attention map, after JP7830372B2 / US12586354B2."""
