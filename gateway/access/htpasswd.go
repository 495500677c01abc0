package access

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// passwords are the users of an htpasswd file.
type passwords struct {
	hashes map[string][]byte
	// dummy is a hash of nothing, with the highest cost of the file, for users
	// that are not in it.
	dummy []byte
}

// maxCost bounds what one login may cost; 2^15 rounds take about two seconds.
const maxCost = 15

// parsePasswords reads lines of USER:HASH. Only bcrypt is taken: everything else
// that htpasswd writes is guessed by the million a second.
func parsePasswords(name string, text []byte) (passwords, error) {
	p := passwords{hashes: map[string][]byte{}}
	highest := bcrypt.MinCost
	err := eachLine(name, text, func(line string) error {
		user, hash, ok := strings.Cut(line, ":")
		if !ok {
			return errors.New("not USER:HASH")
		}
		if err := checkUser(user); err != nil {
			return err
		}
		if _, twice := p.hashes[user]; twice {
			return fmt.Errorf("%q is there twice", user)
		}
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || !strings.HasPrefix(hash, "$2") {
			return fmt.Errorf("the hash of %q is not one of bcrypt; causeway passwd and htpasswd -B write such", user)
		}
		if cost > maxCost {
			return fmt.Errorf("the hash of %q has the cost %d; %d is the most that is taken", user, cost, maxCost)
		}
		highest = max(highest, cost)
		p.hashes[user] = []byte(hash)
		return nil
	})
	p.dummy = dummyHash(highest)
	return p, err
}

// dummyHash returns what has the shape of a bcrypt hash, and is one of no
// password that anybody knows.
func dummyHash(cost int) []byte {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	body := make([]byte, 22+31) // salt and hash
	rand.Read(body)             // it never fails
	for i := range body {
		body[i] = alphabet[body[i]%64]
	}
	// The last digit of the salt has four bits that count for nothing and are
	// zero in hashes that bcrypt has made.
	body[21] = '.'
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, body)
}

// eachLine calls do with each line that says something. Errors name the line,
// and never what is in it beside the user.
func eachLine(name string, text []byte, do func(line string) error) error {
	n := 0
	for raw := range bytes.Lines(text) {
		n++
		line := strings.TrimSpace(string(raw))
		if line == "" || line[0] == '#' {
			continue
		}
		if err := do(line); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	return nil
}

// checkUser refuses names that the files of this package cannot tell apart from
// something else.
func checkUser(user string) error {
	switch {
	case user == "" || len(user) > 255:
		return errors.New("a user name has from 1 to 255 bytes")
	case user == everybody || user == Anonymous || user[0] == '#':
		return fmt.Errorf("%q is not the name of a user", user)
	case strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || r == ':' || r == 0x7f }):
		return errors.New("a user name has no spaces, colons or control characters")
	}
	return nil
}
