"""Parts of tabs: controls, forms, links, code, plots."""
