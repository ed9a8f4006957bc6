"""How the embedded model was made, repeatable: see NOTES.md beside this file."""
