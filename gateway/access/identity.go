package access

import "context"

// Identity is who asks, and what of it.
type Identity struct {
	User string // Anonymous without credentials
	Via  string // "password", "token", "certificate"; empty without credentials

	rules    Rules
	readOnly bool
}

// Allows reports whether the identity has level on path, which is relative to
// the root and has no slashes around it.
func (i Identity) Allows(path string, level Level) bool {
	return i.rules.level(i.User, path) >= i.capped(level)
}

// AllowsTree is Allows for path and everything below it.
func (i Identity) AllowsTree(path string, level Level) bool {
	return i.rules.levelOfTree(i.User, path) >= i.capped(level)
}

// capped makes a level that nobody has here one that no rule gives.
func (i Identity) capped(level Level) Level {
	if i.readOnly && level == Write {
		return Write + 1
	}
	return level
}

type identityKey struct{}

// From returns who the request with this context is of. Outside of a Gate that is
// somebody who may do everything.
func From(ctx context.Context) Identity {
	if i, ok := ctx.Value(identityKey{}).(Identity); ok {
		return i
	}
	return Identity{User: Anonymous}
}

func (i Identity) with(ctx context.Context) context.Context {
	return context.WithValue(ctx, identityKey{}, i)
}
