package store

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxMetadata is the sum of the bytes of keys and values of [Metadata] that a
// caller may use. S3 allows 2 KiB (AWS "Working with object metadata"); the
// rest belongs to the nonce that package retry adds.
const MaxMetadata = 2048 - 64

// CheckKey says why no server can hold key, or nil. The methods of every Store
// refuse such keys with [Invalid].
func CheckKey(key string) error {
	switch {
	case key == "":
		return errors.New("key is empty")
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("key has %d bytes, at most %d are possible", len(key), MaxKeyBytes)
	case !utf8.ValidString(key):
		return errors.New("key is not UTF-8")
	}
	return nil
}

// CheckMetadata says why m cannot be stored, or nil. Writes refuse such
// metadata with [Invalid]. Values may hold any UTF-8 text but not be empty,
// because some servers forget empty ones.
func CheckMetadata(m Metadata) error {
	sum := 0
	for k, v := range m {
		if !metadataKey(k) {
			return fmt.Errorf("metadata key %q is not of lower-case letters, digits, '-', '_' and '.'", k)
		}
		if v == "" || !utf8.ValidString(v) {
			return fmt.Errorf("value of metadata key %q is empty or not UTF-8", k)
		}
		sum += len(k) + len(v)
	}
	if sum > 2048 {
		return fmt.Errorf("metadata has %d bytes, at most %d are possible", sum, 2048)
	}
	return nil
}

func metadataKey(k string) bool {
	return k != "" && strings.IndexFunc(k, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) < 0
}
