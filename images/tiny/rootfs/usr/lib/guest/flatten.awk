# Flattens JSON into lines of PATH<TAB>VALUE, list members numbered from 0. Newlines in strings stay as \n.
function blank() { while (substr(text, at, 1) ~ /[ \t\r\n]/) at++ }
function digits(hex,  k, v) {
    v = 0
    for (k = 1; k <= 4; k++) v = v * 16 + index("0123456789abcdef", tolower(substr(hex, k, 1))) - 1
    return v
}
function string(  out, c) {
    out = ""
    at++
    while (at <= size) {
        c = substr(text, at, 1); at++
        if (c == "\"") return out
        if (c == "\\") {
            c = substr(text, at, 1); at++
            if (c == "n") c = "\\n"
            else if (c == "t") c = " "
            else if (c == "r" || c == "b" || c == "f") c = ""
            else if (c == "u") { c = sprintf("%c", digits(substr(text, at, 4))); at += 4 }
        }
        out = out c
    }
    return out
}
function value(path,  c, key, member, from) {
    blank()
    c = substr(text, at, 1)
    if (c == "{") {
        at++; blank()
        if (substr(text, at, 1) == "}") { at++; return }
        while (at <= size) {
            blank(); key = string(); blank(); at++
            value(path == "" ? key : path "." key)
            blank(); c = substr(text, at, 1); at++
            if (c != ",") return
        }
    } else if (c == "[") {
        member = 0
        at++; blank()
        if (substr(text, at, 1) == "]") { at++; return }
        while (at <= size) {
            value(path "." member); member++
            blank(); c = substr(text, at, 1); at++
            if (c != ",") return
        }
    } else if (c == "\"") {
        print path "\t" string()
    } else {
        from = at
        while (at <= size && substr(text, at, 1) !~ /[],} \t\r\n]/) at++
        print path "\t" substr(text, from, at - from)
    }
}
{ text = text $0 "\n" }
END { size = length(text); at = 1; value("") }
