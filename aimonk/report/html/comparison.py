def format_page(c):
    return ""
