package fuse

// renameNoReplace is RENAME_EXCL of renamex_np(2).
const renameNoReplace = 4

// xattrFlags returns the flags of setxattr(2), which are XATTR_CREATE 2 and
// XATTR_REPLACE 4 here, as vfs knows them.
func xattrFlags(flags uint32) int { return int(flags >> 1 & 3) }
