package s3lock

import (
	"strings"

	"github.com/causewayfs/causeway/locks"
)

const (
	maxSegment = 180
	lastMark   = "~"
	moreMark   = "!/"
	hexDigits  = "0123456789ABCDEF"
)

// escape returns the name of a key without the mark of its end.
func escape(key string) string {
	var b strings.Builder
	segment := 0
	for _, r := range key {
		unit := string(r)
		switch {
		case r == '/':
			unit = "+"
		case r < ' ' || r == 0x7f || strings.ContainsRune(locks.SpecialInKeys, r):
			unit = string([]byte{'%', hexDigits[r>>4], hexDigits[r&15]})
		}
		if segment+len(unit) > maxSegment {
			b.WriteString(moreMark)
			segment = 0
		}
		b.WriteString(unit)
		segment += len(unit)
	}
	return b.String()
}

// nameOf returns the name of a record's object behind the prefix.
func nameOf(key string) (string, error) {
	if err := locks.CheckKey(key); err != nil {
		return "", err
	}
	return escape(key) + lastMark, nil
}

// keyOf is the inverse of nameOf. It reports false for what nameOf never
// returns.
func keyOf(name string) (string, bool) {
	body, ok := strings.CutSuffix(name, lastMark)
	if !ok {
		return "", false
	}
	key, ok := unescape(strings.ReplaceAll(body, moreMark, ""))
	if !ok {
		return "", false
	}
	again, err := nameOf(key)
	return key, err == nil && again == name
}

func unescape(s string) (string, bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			b = append(b, '/')
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b), true
}
