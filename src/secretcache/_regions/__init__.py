"""Where a value comes from: which region is asked next (`route`, pure) and on which thread (`lanes`)."""
