"""One module per input form, each a pure mapping from a payload to drafts."""
