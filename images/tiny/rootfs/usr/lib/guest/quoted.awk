# Decodes quoted-printable.
BEGIN { hex = "0123456789ABCDEF" }
{
    sub(/[ \t\r]+$/, "")
    soft = sub(/=$/, "")
    out = ""
    while (match($0, /=[0-9A-Fa-f][0-9A-Fa-f]/)) {
        code = toupper(substr($0, RSTART + 1, 2))
        out = out substr($0, 1, RSTART - 1) sprintf("%c", (index(hex, substr(code, 1, 1)) - 1) * 16 + index(hex, substr(code, 2)) - 1)
        $0 = substr($0, RSTART + 3)
    }
    printf "%s%s", out $0, soft ? "" : "\n"
}
