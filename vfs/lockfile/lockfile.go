// Package lockfile reads and rewrites the lock files of programs that take
// over a lock when its holder is dead where they run, or has not renewed it for
// some time by their clock: swamp's. Such a file is a JSON object in which pid is
// the holder's process id, acquiredAt when it was taken or last renewed
// (RFC 3339), and ttlMs after how many milliseconds without renewal it is
// stale. Everything else is the program's own.
package lockfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// MaxSize is the size in bytes of the largest file that is taken for a lock.
const MaxSize = 16 << 10

// Record is what a lock file says.
type Record struct {
	PID        int
	AcquiredAt time.Time
	TTL        time.Duration // 0 if it does not say
}

// ErrNoLock says that a text is no lock file: it is empty, being written, or
// something else.
var ErrNoLock = errors.New("not a lock file")

// span is where a value is in a text.
type span struct{ from, to int64 }

// scanned is a Record with the places of its values.
type scanned struct {
	Record
	pid, acquiredAt span
}

// Parse reads a lock file. The error is ErrNoLock.
func Parse(text []byte) (Record, error) {
	s, err := scan(text)
	return s.Record, err
}

// Rewrite returns text with another process id and time, in as many bytes: all
// else is the same but for space between values. The error is ErrNoLock, also if
// there is no room for the process id.
func Rewrite(text []byte, pid int, acquiredAt time.Time) ([]byte, error) {
	s, err := scan(text)
	if err != nil {
		return nil, err
	}
	when := formatLike(string(text[s.acquiredAt.from+1:s.acquiredAt.to-1]), acquiredAt)
	first, second := s.pid, s.acquiredAt
	values := []string{strconv.Itoa(pid), `"` + when + `"`}
	if first.from > second.from {
		first, second = second, first
		values[0], values[1] = values[1], values[0]
	}
	var b bytes.Buffer
	b.Write(text[:first.from])
	b.WriteString(values[0])
	b.Write(text[first.to:second.from])
	b.WriteString(values[1])
	b.Write(text[second.to:])
	return fit(b.Bytes(), len(text))
}

// fit gives a JSON text a length, by space.
func fit(text []byte, length int) ([]byte, error) {
	if len(text) > length {
		var b bytes.Buffer
		if err := json.Compact(&b, text); err != nil || b.Len() > length {
			return nil, ErrNoLock
		}
		text = b.Bytes()
	}
	end := len(bytes.TrimRight(text, " \t\r\n")) // the last brace
	pad := bytes.Repeat([]byte{' '}, length-len(text))
	return append(append(append(make([]byte, 0, length), text[:end-1]...), pad...), text[end-1:]...), nil
}

// formatLike formats t in UTC, as a time of the form of old, so that it has as
// many digits.
func formatLike(old string, t time.Time) string {
	layout := "2006-01-02T15:04:05"
	if _, rest, ok := strings.Cut(old, "."); ok {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		layout += "." + strings.Repeat("0", digits)
	}
	if strings.HasSuffix(old, "Z") || strings.HasSuffix(old, "z") {
		return t.UTC().Format(layout) + "Z"
	}
	return t.UTC().Format(layout) + "+00:00"
}

// scan reads the first of the values of each name, at the top level.
func scan(text []byte) (scanned, error) {
	var s scanned
	if len(text) > MaxSize {
		return s, ErrNoLock
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return s, ErrNoLock
	}
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		key, ok := name.(string)
		if err != nil || !ok || seen[key] {
			return s, ErrNoLock
		}
		seen[key] = true
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return s, ErrNoLock
		}
		to := d.InputOffset()
		if err := s.take(key, raw, span{to - int64(len(raw)), to}); err != nil {
			return s, ErrNoLock
		}
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return s, ErrNoLock
	}
	if _, err := d.Token(); err != io.EOF || !seen["pid"] || !seen["acquiredAt"] {
		return s, ErrNoLock
	}
	return s, nil
}

// take reads one value.
func (s *scanned) take(key string, raw json.RawMessage, at span) error {
	switch key {
	case "pid":
		s.pid = at
		if err := json.Unmarshal(raw, &s.PID); err != nil || s.PID <= 0 {
			return ErrNoLock
		}
	case "acquiredAt":
		s.acquiredAt = at
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		var err error
		s.AcquiredAt, err = time.Parse(time.RFC3339Nano, text)
		if err == nil && len(text)+2 != len(raw) {
			return ErrNoLock // written with escapes
		}
		return err
	case "ttlMs":
		var ms float64
		if err := json.Unmarshal(raw, &ms); err != nil || ms < 0 || ms > float64(24*time.Hour/time.Millisecond) {
			return ErrNoLock
		}
		s.TTL = time.Duration(ms * float64(time.Millisecond))
	}
	return nil
}
