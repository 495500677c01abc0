package vfs

import (
	"context"
	"slices"
	"strings"

	"github.com/causewayfs/causeway/index"
)

const userPrefix, trustedPrefix = "user.", "trusted."

func xattrAllowed(name string) bool {
	return strings.HasPrefix(name, userPrefix) || strings.HasPrefix(name, trustedPrefix)
}

// GetXAttr implements XAttrs.
func (fs *FS) GetXAttr(ctx context.Context, id NodeID, name string) ([]byte, error) {
	attrs, err := fs.xattrs(ctx, "getxattr", id, name)
	if err != nil {
		return nil, err
	}
	value, ok := attrs[name]
	if !ok {
		return nil, &Error{Op: "getxattr", Kind: NoAttr}
	}
	return value, nil
}

// ListXAttr implements XAttrs.
func (fs *FS) ListXAttr(ctx context.Context, id NodeID) ([]string, error) {
	attrs, err := fs.xattrs(ctx, "listxattr", id, userPrefix)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(attrs))
	for name := range attrs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (fs *FS) xattrs(ctx context.Context, op string, id NodeID, name string) (map[string][]byte, error) {
	n := fs.nodes.get(id)
	if n == nil {
		return nil, &Error{Op: op, Kind: Stale}
	}
	if !xattrAllowed(name) {
		return nil, &Error{Op: op, Path: fs.pathOf(n), Kind: NotSupported}
	}
	e, err := fs.entryOf(ctx, n)
	if err != nil || e.Attr == nil {
		return nil, err
	}
	return e.Attr.XAttrs, nil
}

// SetXAttr implements XAttrs.
func (fs *FS) SetXAttr(ctx context.Context, id NodeID, name string, value []byte, flags int) error {
	const create, replace = 1, 2
	return fs.changeXAttrs(ctx, "setxattr", id, name, func(attrs map[string][]byte) error {
		_, ok := attrs[name]
		switch {
		case flags == create && ok:
			return &Error{Op: "setxattr", Kind: Exist}
		case flags == replace && !ok:
			return &Error{Op: "setxattr", Kind: NoAttr}
		}
		attrs[name] = slices.Clone(value)
		return nil
	})
}

// RemoveXAttr implements XAttrs.
func (fs *FS) RemoveXAttr(ctx context.Context, id NodeID, name string) error {
	return fs.changeXAttrs(ctx, "removexattr", id, name, func(attrs map[string][]byte) error {
		if _, ok := attrs[name]; !ok {
			return &Error{Op: "removexattr", Kind: NoAttr}
		}
		delete(attrs, name)
		return nil
	})
}

func (fs *FS) changeXAttrs(ctx context.Context, op string, id NodeID, name string, change func(map[string][]byte) error) error {
	n := fs.nodes.get(id)
	switch {
	case n == nil:
		return &Error{Op: op, Kind: Stale}
	case fs.opts.ReadOnly:
		return &Error{Op: op, Path: fs.pathOf(n), Kind: ReadOnly}
	case !xattrAllowed(name):
		return &Error{Op: op, Path: fs.pathOf(n), Kind: NotSupported}
	}
	return fs.changeAttr(ctx, n, func(_ *file, a *index.Attr) error {
		attrs := make(map[string][]byte, len(a.XAttrs)+1)
		for k, v := range a.XAttrs {
			attrs[k] = v
		}
		if err := change(attrs); err != nil {
			return err
		}
		a.XAttrs = attrs
		return nil
	})
}
