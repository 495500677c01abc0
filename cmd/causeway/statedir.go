package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
)

// stateHome returns the directory that holds the state directories of this
// user's mounts: /var/lib/causeway for root, else $XDG_STATE_HOME/causeway or
// ~/.local/state/causeway.
func stateHome(getenv func(string) string, uid int) (string, error) {
	if uid == 0 {
		return "/var/lib/causeway", nil
	}
	if dir := xdgDir(getenv, "XDG_STATE_HOME", ".local/state"); dir != "" {
		return filepath.Join(dir, "causeway"), nil
	}
	return "", &problem{
		what:   "choose a state directory",
		err:    errors.New("neither HOME nor XDG_STATE_HOME is set"),
		remedy: "Give --state-dir DIR",
	}
}

// stateName names the state directory of a target: readable, and different for
// the same bucket name on another endpoint.
func stateName(endpoint string, t target) string {
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '-'
	}, strings.TrimPrefix(t.String(), "s3://"))
	sum := sha256.Sum256([]byte(strings.TrimRight(endpoint, "/") + "\n" + t.String()))
	return readable[:min(len(readable), 64)] + "-" + hex.EncodeToString(sum[:4])
}

// runtimeDir returns the directory in which running mounts register: /run for
// root (on macOS /var/run), else $XDG_RUNTIME_DIR, and the state home where
// there is none.
func runtimeDir(getenv func(string) string, uid int) (string, error) {
	if uid == 0 && runtime.GOOS == "darwin" {
		return "/var/run/causeway", nil
	}
	if uid == 0 {
		return "/run/causeway", nil
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "causeway"), nil
	}
	home, err := stateHome(getenv, uid)
	if err != nil {
		return "", err
	}
	return filepath.Join(home, "run"), nil
}
