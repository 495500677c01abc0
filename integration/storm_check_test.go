//go:build integration

package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"
)

// Files of the load tests consist of blocks that describe themselves: whose
// they are, which, of which version, and a checksum. So a reader sees whether
// bytes are torn, mixed up or stale without knowing what was written, and the
// owner of a file knows its exact content from the versions of its blocks.
const stormBlock = 1000 // bytes; not a divisor of anything

// stormState is what a file may hold: the versions of its blocks. nil: there is
// no such file.
type stormState []int

// uniform is a file of n blocks of one version.
func uniform(n, version int) stormState { return slices.Repeat(stormState{version}, n) }

// block makes one block.
func block(file, index, version int) []byte {
	b := make([]byte, stormBlock)
	n := copy(b, fmt.Sprintf("file %d block %d version %d\n", file, index, version))
	x := uint64(file+1)*0x9e3779b97f4a7c15 ^ uint64(index+1)*0xbf58476d1ce4e5b9 ^ uint64(version+1)*0x94d049bb133111eb
	for i := n; i+8 <= stormBlock-4; i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[i:], x)
	}
	binary.LittleEndian.PutUint32(b[stormBlock-4:], crc32.ChecksumIEEE(b[:stormBlock-4]))
	return b
}

// bytes is the content of a file in this state.
func (s stormState) bytes(file int) []byte {
	b := make([]byte, 0, len(s)*stormBlock)
	for i, v := range s {
		b = append(b, block(file, i, v)...)
	}
	return b
}

// parseStorm returns the state that a file's content is; an error if it is not
// one that its owner can have written.
func parseStorm(file int, content []byte) (stormState, error) {
	if len(content)%stormBlock != 0 {
		return nil, fmt.Errorf("%d bytes, which is not a number of blocks", len(content))
	}
	s := stormState{}
	for i := 0; len(content) > 0; i++ {
		b := content[:stormBlock]
		content = content[stormBlock:]
		var f, index, version int
		if _, err := fmt.Sscanf(string(b[:min(64, len(b))]), "file %d block %d version %d\n", &f, &index, &version); err != nil {
			return nil, fmt.Errorf("block %d is none: %q…", i, b[:32])
		}
		switch {
		case f != file || index != i:
			return nil, fmt.Errorf("block %d of file %d is block %d of file %d", i, file, index, f)
		case !bytes.Equal(b, block(f, index, version)):
			return nil, fmt.Errorf("block %d of version %d is torn", i, version)
		}
		s = append(s, version)
	}
	return s, nil
}

// matches says whether a content, nil for no file, is one of the states.
func matches(file int, content []byte, states []stormState) (stormState, error) {
	if content == nil {
		if slices.ContainsFunc(states, func(s stormState) bool { return s == nil }) {
			return nil, nil
		}
		return nil, fmt.Errorf("is gone, want %s", describeStates(states))
	}
	got, err := parseStorm(file, content)
	if err != nil {
		return nil, err
	}
	for _, s := range states {
		if s != nil && slices.Equal(got, s) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("holds %s, want %s", got, describeStates(states))
}

// String is the state in short: runs of blocks of one version.
func (s stormState) String() string {
	if s == nil {
		return "nothing"
	}
	text, n := fmt.Sprintf("%d blocks", len(s)), 0
	for i := 0; i < len(s) && n < 8; n++ {
		j := i
		for j < len(s) && s[j] == s[i] {
			j++
		}
		text += fmt.Sprintf(" %d×v%d", j-i, s[i])
		i = j
	}
	return text
}

func describeStates(states []stormState) string {
	text := ""
	for i, s := range states {
		if i > 0 {
			text += ", or "
		}
		text += s.String()
	}
	return text
}

// TestStormCheck gives the checker what it must find.
func TestStormCheck(t *testing.T) {
	old, now := uniform(4, 1), stormState{1, 1, 7, 1, 8}
	states := []stormState{now}
	good := now.bytes(3)
	if _, err := matches(3, good, []stormState{old, now}); err != nil {
		t.Errorf("right content: %v", err)
	}
	if got, err := matches(3, nil, []stormState{old, nil}); got != nil || err != nil {
		t.Errorf("right absence: %v, %v", got, err)
	}
	if _, err := matches(3, stormState{}.bytes(3), []stormState{{}}); err != nil {
		t.Errorf("right empty file: %v", err)
	}
	flip := slices.Clone(good)
	flip[2*stormBlock+500] ^= 1
	zeros := slices.Clone(good)
	clear(zeros[stormBlock : 2*stormBlock])
	for what, content := range map[string][]byte{
		"older": old.bytes(3), "gone": nil, "empty": {}, "short": good[:len(good)-1], "a block less": good[:4*stormBlock],
		"a bit": flip, "zeros": zeros, "doubled block": slices.Concat(good, good[4*stormBlock:]), "another file": now.bytes(4),
		"swapped": slices.Concat(good[stormBlock:2*stormBlock], good[:stormBlock], good[2*stormBlock:]),
		"mixed":   slices.Concat(good[:2*stormBlock], old.bytes(3)[2*stormBlock:]),
	} {
		if _, err := matches(3, content, states); err == nil {
			t.Errorf("%s: passed for right", what)
		}
	}
}
