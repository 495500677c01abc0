package record

import (
	"fmt"
	"slices"

	"github.com/causewayfs/causeway/locks"
)

// Mode is how an entry shares its path with those of other sessions.
type Mode uint8

// The modes; the texts of the format.
const (
	IS Mode = iota // intent: something below is shared
	IX             // intent: something below is exclusive
	S              // the path, shared
	X              // the path, exclusively
	TS             // it and all below, shared
	TX             // it and all below, exclusively
	modes
)

var names = [modes]string{"IS", "IX", "S", "X", "TS", "TX"}

// compatible is the table of package locks.
var compatible = [modes][modes]bool{
	IS: {IS: true, IX: true, S: true, X: true, TS: true},
	IX: {IS: true, IX: true, S: true, X: true},
	S:  {IS: true, IX: true, S: true, TS: true},
	X:  {IS: true, IX: true},
	TS: {IS: true, S: true, TS: true},
	TX: {},
}

// Of returns the mode of a claim on its own path.
func Of(c locks.Claim) Mode {
	switch {
	case c.Tree && c.Mode == locks.Exclusive:
		return TX
	case c.Tree:
		return TS
	case c.Mode == locks.Exclusive:
		return X
	}
	return S
}

// Intent returns the mode of a claim on the directories above its path.
func Intent(c locks.Claim) Mode {
	if c.Mode == locks.Exclusive {
		return IX
	}
	return IS
}

// Covers reports whether m keeps out all that n keeps out.
func (m Mode) Covers(n Mode) bool {
	for o := range modes {
		if compatible[m][o] && !compatible[n][o] {
			return false
		}
	}
	return true
}

func (m Mode) String() string {
	if m < modes {
		return names[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// MarshalText is that of encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) {
	if m >= modes {
		return nil, fmt.Errorf("no such mode: %d", m)
	}
	return []byte(names[m]), nil
}

// UnmarshalText is that of encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) error {
	i := slices.Index(names[:], string(text))
	if i < 0 {
		return fmt.Errorf("no such mode: %q", text)
	}
	*m = Mode(i)
	return nil
}
