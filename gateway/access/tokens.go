package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// tokenPrefix begins every token, so that secret scanners and people know one
// when they see it.
const tokenPrefix = "cwt_"

// tokens are the users by the SHA-256 of their tokens. A token is random, so
// that one round of a fast hash keeps it as safe as many would.
type tokens map[[sha256.Size]byte]string

// parseTokens reads lines of USER:HEX, HEX being the SHA-256 of the token. A user
// may have any number of them.
func parseTokens(name string, text []byte) (tokens, error) {
	t := tokens{}
	err := eachLine(name, text, func(line string) error {
		user, digest, ok := strings.Cut(line, ":")
		if !ok {
			return errors.New("not USER:SHA256")
		}
		if err := checkUser(user); err != nil {
			return err
		}
		var key [sha256.Size]byte
		if n, err := hex.Decode(key[:], []byte(digest)); err != nil || n != len(key) || len(digest) != 2*len(key) {
			return fmt.Errorf("what %q has is not a SHA-256 in hexadecimal; causeway passwd --token writes such", user)
		}
		t[key] = user
		return nil
	})
	return t, err
}

// user returns whose token it is. How long it takes tells about the hash of the
// token, which nobody can choose, and not about the token.
func (t tokens) user(token string) (string, bool) {
	key := sha256.Sum256([]byte(token))
	user, ok := t[key]
	return user, ok
}

// owns reports whether token is one of user's.
func (t tokens) owns(user, token string) bool {
	owner, ok := t.user(token)
	return ok && subtle.ConstantTimeCompare([]byte(owner), []byte(user)) == 1
}

// NewToken returns a token, and the line for the file of tokens that lets user
// in with it.
func NewToken(user string) (token, line string, err error) {
	if err := checkUser(user); err != nil {
		return "", "", err
	}
	token = tokenPrefix + rand.Text()
	sum := sha256.Sum256([]byte(token))
	return token, user + ":" + hex.EncodeToString(sum[:]), nil
}
