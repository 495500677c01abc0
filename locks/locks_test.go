package locks_test

import (
	"strings"
	"testing"

	"github.com/causewayfs/causeway/locks"
)

func TestCheckKey(t *testing.T) {
	for key, good := range map[string]bool{
		"a": true, "p/ä b": true, strings.Repeat("x", 900): true, strings.Repeat("%", 300): true, "a\nb": true,
		"": false, "\xff": false, strings.Repeat("x", 901): false, strings.Repeat("%", 301): false, strings.Repeat("\n", 301): false,
	} {
		if err := locks.CheckKey(key); (err == nil) != good {
			t.Errorf("CheckKey(%.20q) = %v", key, err)
		}
	}
}
